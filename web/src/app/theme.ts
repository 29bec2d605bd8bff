import { createTheme, type MantineColorsTuple } from "@mantine/core";

/** From light to dark; 6 is the button in light mode and has a contrast of 5.5 with white. */
const iris: MantineColorsTuple = [
  "#f1f1fe",
  "#e0e0fb",
  "#c3c3f5",
  "#a3a4ef",
  "#8788e9",
  "#6f70e0",
  "#5b5bd6",
  "#4c4bc0",
  "#403fa3",
  "#343382",
];

export const theme = createTheme({
  primaryColor: "iris",
  primaryShade: { light: 6, dark: 6 },
  colors: { iris },
  fontFamily: "'Inter Variable', system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'JetBrains Mono', Menlo, Consolas, monospace",
  defaultRadius: "md",
  cursorType: "pointer",
});
