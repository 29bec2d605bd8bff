import {
  ActionIcon,
  Badge,
  Button,
  Card,
  type CSSVariablesResolver,
  createTheme,
  Drawer,
  type MantineColorsTuple,
  Modal,
  Table,
  Tooltip,
} from "@mantine/core";

/** From light to dark; white on 6 has a contrast of 5.5. */
const iris: MantineColorsTuple = [
  "#f2f2fe",
  "#e2e2fc",
  "#c6c6f7",
  "#a9aaf2",
  "#8f90ec",
  "#7577e3",
  "#5b5bd6",
  "#4c4bc0",
  "#403fa3",
  "#343382",
];

/** Greys with a little blue in them; 7 is the ground of dark mode. */
const dark: MantineColorsTuple = [
  "#e6e6ec",
  "#b8b9c6",
  "#9a9cab",
  "#6c6e7f",
  "#3a3c49",
  "#2c2e39",
  "#22232c",
  "#16171d",
  "#111217",
  "#0c0d10",
];

export const theme = createTheme({
  primaryColor: "iris",
  primaryShade: { light: 6, dark: 6 },
  colors: { iris, dark },
  fontFamily: "'Inter Variable', system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'JetBrains Mono', Menlo, Consolas, monospace",
  headings: { fontWeight: "650" },
  defaultRadius: "md",
  cursorType: "pointer",
  components: {
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: "subtle", color: "gray" } }),
    Badge: Badge.extend({
      defaultProps: { variant: "light", radius: "sm" },
      styles: { label: { textTransform: "none" } },
    }),
    Button: Button.extend({ styles: { root: { fontWeight: 550 } } }),
    Card: Card.extend({ defaultProps: { withBorder: true, padding: "lg", radius: "lg" } }),
    Drawer: Drawer.extend({ defaultProps: { position: "right", overlayProps: { backgroundOpacity: 0.35 } } }),
    Modal: Modal.extend({ defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.35 } } }),
    Table: Table.extend({ defaultProps: { verticalSpacing: "sm", horizontalSpacing: "md" } }),
    Tooltip: Tooltip.extend({ defaultProps: { openDelay: 300, withArrow: true } }),
  },
});

/** Cards lie on a ground of their own, and dimmed text keeps a contrast of 4.5 on both. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#62646f",
    "--app-ground": "#f7f7f9",
    "--app-border": "#e6e7ec",
  },
  dark: {
    "--mantine-color-dimmed": "#9a9cab",
    "--app-ground": "#111217",
    "--app-border": "#2c2e39",
    "--mantine-color-anchor": "#a9aaf2",
  },
});
