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
  Notification,
  rem,
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

const CLOSE = { "aria-label": "Close" };

export const theme = createTheme({
  primaryColor: "iris",
  primaryShade: { light: 6, dark: 6 },
  colors: { iris, dark },
  fontFamily: "'Inter Variable', system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'JetBrains Mono', Menlo, Consolas, monospace",
  fontSizes: { xs: rem(12), sm: rem(13.5), md: rem(15), lg: rem(17), xl: rem(20) },
  headings: { fontWeight: "650" },
  defaultRadius: "md",
  cursorType: "pointer",
  respectReducedMotion: true,
  components: {
    ActionIcon: ActionIcon.extend({ defaultProps: { variant: "subtle", color: "gray" } }),
    Badge: Badge.extend({
      defaultProps: { variant: "light", radius: "sm" },
      styles: { label: { textTransform: "none" } },
    }),
    Button: Button.extend({ styles: { root: { fontWeight: 550 } } }),
    Card: Card.extend({ defaultProps: { withBorder: true, padding: "lg", radius: "lg" } }),
    Drawer: Drawer.extend({
      defaultProps: { position: "right", closeButtonProps: CLOSE, overlayProps: { backgroundOpacity: 0.35 } },
    }),
    Modal: Modal.extend({
      defaultProps: { centered: true, closeButtonProps: CLOSE, overlayProps: { backgroundOpacity: 0.35 } },
    }),
    Notification: Notification.extend({ defaultProps: { closeButtonProps: CLOSE } }),
    Table: Table.extend({ defaultProps: { verticalSpacing: "sm", horizontalSpacing: "md" } }),
    Tooltip: Tooltip.extend({ defaultProps: { openDelay: 300, withArrow: true } }),
  },
});

/** White on it has a contrast of 5. */
const FILLED = { "--mantine-color-red-filled": "#cf3040", "--mantine-color-red-filled-hover": "#b92836" };

/** Cards lie on a ground of their own, and dimmed text keeps a contrast of 4.5 on both. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#62646f",
    ...FILLED,
    "--app-ground": "#f7f7f9",
    "--app-border": "#e6e7ec",
    "--app-card": "#ffffff",
    "--mantine-color-iris-light": "#efeffc",
    "--mantine-color-iris-light-hover": "#e6e6fa",
    "--mantine-color-red-light": "#fdeef0",
    "--mantine-color-red-light-color": "#b4232f",
    "--mantine-color-teal-light": "#e3f8ef",
    "--mantine-color-teal-light-color": "#07694b",
    "--mantine-color-yellow-light": "#fff4d6",
    "--mantine-color-yellow-light-color": "#7a5200",
    "--mantine-color-gray-light": "#eeeff3",
    "--mantine-color-gray-light-color": "#4a4c57",
    "--mantine-color-gray-outline": "#5c5f6b",
    "--mantine-color-error": "#c22533",
    "--mantine-color-red-text": "#c22533",
    "--mantine-color-yellow-text": "#8a5d00",
  },
  dark: {
    "--mantine-color-dimmed": "#9a9cab",
    ...FILLED,
    "--app-ground": "#111217",
    "--app-border": "#2a2b36",
    "--app-card": "#191a21",
    "--mantine-color-iris-light": "rgb(117 119 227 / 18%)",
    "--mantine-color-iris-light-hover": "rgb(117 119 227 / 26%)",
    "--mantine-color-iris-light-color": "#c6c6f7",
    "--mantine-color-gray-light": "#2e303b",
    "--mantine-color-gray-light-color": "#c9cad6",
    "--mantine-color-gray-outline": "#9a9cab",
    "--mantine-color-teal-light": "rgb(63 185 123 / 16%)",
    "--mantine-color-teal-light-color": "#7fdcab",
    "--mantine-color-error": "#ff8f99",
    "--mantine-color-red-light": "rgb(242 96 111 / 14%)",
    "--mantine-color-red-light-color": "#ff9aa4",
    "--mantine-color-yellow-light": "rgb(239 180 62 / 15%)",
    "--mantine-color-yellow-light-color": "#f3c969",
    "--mantine-color-anchor": "#a9aaf2",
  },
});
