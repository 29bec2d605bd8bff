import {
  AppShell,
  Avatar,
  Burger,
  Group,
  Menu,
  NavLink,
  Text,
  UnstyledButton,
  useMantineColorScheme,
  VisuallyHidden,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconActivity,
  IconBolt,
  IconDeviceDesktop,
  IconLogout,
  IconMoon,
  IconPlug,
  IconServer2,
  IconSun,
  IconTopologyStar3,
} from "@tabler/icons-react";
import type { ReactNode } from "react";
import { Link, useLocation } from "wouter";
import classes from "./Frame.module.css";
import logo from "./logo.svg";
import { signOut, useMe } from "./session";

const PLACES = [
  { path: "/workflows", label: "Workflows", icon: IconTopologyStar3 },
  { path: "/runs", label: "Runs", icon: IconActivity },
  { path: "/triggers", label: "Triggers", icon: IconBolt },
  { path: "/connections", label: "Connections", icon: IconPlug },
  { path: "/cluster", label: "Cluster", icon: IconServer2 },
];

/** What surrounds every page but the canvas: where one can go, and who one is. */
export function Frame({ children }: { children: ReactNode }) {
  const [opened, { toggle, close }] = useDisclosure();
  return (
    <AppShell
      header={{ height: { base: 56, sm: 0 } }}
      navbar={{ width: 232, breakpoint: "sm", collapsed: { mobile: !opened } }}
      padding={0}
    >
      <a href="#content" className={classes.skip}>
        Skip to the content
      </a>
      <AppShell.Header hiddenFrom="sm">
        <Group h="100%" px="md">
          <Burger opened={opened} onClick={toggle} size="sm" aria-label="Navigation" />
          <Brand />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar className={classes.navbar} p="sm">
        <AppShell.Section visibleFrom="sm" px="xs" pt={6} pb="lg">
          <Brand />
        </AppShell.Section>
        <AppShell.Section grow component="nav" aria-label="Main">
          <Places onGo={close} />
        </AppShell.Section>
        <AppShell.Section>
          <UserMenu />
        </AppShell.Section>
      </AppShell.Navbar>
      <AppShell.Main id="content" tabIndex={-1} className={classes.main}>
        {children}
      </AppShell.Main>
    </AppShell>
  );
}

export function Brand() {
  return (
    <Link href="/workflows" className="quiet-link">
      <Group gap={10} wrap="nowrap">
        <img src={logo} alt="" width={26} height={26} />
        <Text fw={650} fz="md" lts="-0.01em">
          MEL Agent
        </Text>
      </Group>
    </Link>
  );
}

function Places({ onGo }: { onGo: () => void }) {
  const [here] = useLocation();
  return PLACES.map(({ path, label, icon: Icon }) => (
    <NavLink
      key={path}
      component={Link}
      href={path}
      label={label}
      active={here.startsWith(path)}
      aria-current={here.startsWith(path) ? "page" : undefined}
      leftSection={<Icon size={18} stroke={1.7} />}
      className={classes.place}
      onClick={onGo}
    />
  ));
}

const SCHEMES = [
  { value: "light", label: "Light", icon: IconSun },
  { value: "dark", label: "Dark", icon: IconMoon },
  { value: "auto", label: "As the system", icon: IconDeviceDesktop },
] as const;

/** Who is signed in, light or dark, and the way out. */
export function UserMenu({ compact = false }: { compact?: boolean }) {
  const me = useMe().data;
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  if (!me) return null;
  const name = me.name || me.email || me.id;
  return (
    <Menu position="top-start" width={216} shadow="md">
      <Menu.Target>
        <UnstyledButton className={classes.user}>
          <Group gap="sm" wrap="nowrap">
            <Avatar name={name} color="iris" size={30} radius="xl" alt="" aria-hidden />
            {compact && <VisuallyHidden>{name}</VisuallyHidden>}
            {!compact && (
              <div className={classes.who}>
                <Text fz="sm" fw={550} truncate>
                  {name}
                </Text>
                <Text fz="xs" c="dimmed" tt="capitalize">
                  {me.role}
                </Text>
              </div>
            )}
          </Group>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        {me.email && <Menu.Label>{me.email}</Menu.Label>}
        {SCHEMES.map(({ value, label, icon: Icon }) => (
          <Menu.Item
            key={value}
            leftSection={<Icon size={16} />}
            aria-current={colorScheme === value}
            bg={colorScheme === value ? "var(--mantine-primary-color-light)" : undefined}
            onClick={() => setColorScheme(value)}
          >
            {label}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void signOut()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
