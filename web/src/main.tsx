import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { reloadOnMissingFiles } from "./app/staleFiles";

reloadOnMissingFiles();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
