import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "@fontsource-variable/inter";
import "./app.css";
import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { Boundary } from "./Boundary";
import { nonce } from "./nonce";
import { Pages } from "./Pages";
import { queries } from "./queries";
import { theme, variables } from "./theme";

export function App() {
  return (
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto" getStyleNonce={nonce}>
        <Notifications position="bottom-right" />
        <QueryClientProvider client={queries}>
          <Boundary>
            <Pages />
          </Boundary>
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>
  );
}
