import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { compressed } from "./compressed.ts";

const SERVER = process.env.MEL_SERVER_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react(), compressed()],
  // The server puts a fresh nonce here, into every answer.
  html: { cspNonce: "__NONCE__" },
  build: {
    outDir: process.env.MEL_WEB_OUT ?? "../melagent/web_dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the policy allows no data: scripts or fonts
    chunkSizeWarningLimit: 1000, // tests/web measures what is loaded first
  },
  server: {
    proxy: {
      "/api": { target: SERVER, ws: true },
      "/oauth2": SERVER,
    },
  },
});
