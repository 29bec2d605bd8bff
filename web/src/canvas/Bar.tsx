import {
  ActionIcon,
  Avatar,
  Button,
  Group,
  Indicator,
  Menu,
  Paper,
  Popover,
  Stack,
  Text,
  TextInput,
  Tooltip,
  UnstyledButton,
} from "@mantine/core";
import {
  IconAlertTriangle,
  IconArrowBackUp,
  IconArrowForwardUp,
  IconChevronDown,
  IconChevronLeft,
  IconCloudCheck,
  IconCloudOff,
  IconCloudUp,
  IconHistory,
  IconKeyboard,
  IconLayoutDistributeHorizontal,
  IconMaximize,
  IconMinus,
  IconPlayerPlay,
  IconPlus,
  IconRocket,
  type TablerIcon,
} from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, body } from "../api/client";
import { UserMenu } from "../app/Frame";
import { queries } from "../app/queries";
import { tellError } from "../ui/notify";
import classes from "./CanvasPage.module.css";
import { commands } from "./commands";
import { type Dialog, useEditor, useShown } from "./editor";
import { start } from "./running";
import { savedText } from "./saved";
import { COMMANDS, type Command, keyLabel } from "./shortcuts";
import { usePart } from "./store";

/** Above the canvas: what this is, whether it is saved, who else is here, and what can be done with it. */
export function Bar() {
  const mayEdit = useShown(({ role }) => role !== "viewer");
  return (
    <header className={classes.bar}>
      <Group gap="xs" wrap="nowrap" className={classes.left}>
        <ActionIcon component={Link} href="/workflows" size="lg" aria-label="All workflows">
          <IconChevronLeft size={20} />
        </ActionIcon>
        <Name mayEdit={mayEdit} />
        <Saved />
      </Group>
      <Group gap={6} wrap="nowrap" className={classes.right}>
        <Problems />
        <Others />
        {mayEdit && (
          <>
            <Do command="undo" icon={IconArrowBackUp} />
            <Do command="redo" icon={IconArrowForwardUp} />
            <Do command="layout" icon={IconLayoutDistributeHorizontal} />
          </>
        )}
        <Open kind="history" label="History" icon={IconHistory} />
        <Open kind="help" label="Keyboard shortcuts" icon={IconKeyboard} />
        {mayEdit && <Run />}
        <VersionsButton />
        <div>
          <UserMenu compact />
        </div>
      </Group>
    </header>
  );
}

function Name({ mayEdit }: { mayEdit: boolean }) {
  const editor = useEditor();
  const [typed, setTyped] = useState<string | null>(null);
  const params = { path: { id: editor.workflowId } };
  const workflow = useQuery({
    queryKey: ["workflows", "one", editor.workflowId],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params })),
  });
  const rename = useMutation({
    mutationFn: (name: string) => body(api.PUT("/api/workflows/{id}", { params, body: { name } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["workflows"] }),
    onError: tellError,
  });
  const name = rename.isPending ? rename.variables : (workflow.data?.name ?? "");
  if (typed === null || !mayEdit) {
    return (
      <UnstyledButton
        className={classes.title}
        disabled={!mayEdit}
        onClick={() => setTyped(name)}
        aria-label={mayEdit ? `Rename ${name}` : name}
      >
        <h1>{name}</h1>
      </UnstyledButton>
    );
  }
  const finish = (wanted: string) => {
    setTyped(null);
    if (wanted.trim() && wanted.trim() !== name) rename.mutate(wanted.trim());
  };
  return (
    <TextInput
      aria-label="Name of the workflow"
      size="sm"
      maxLength={200}
      autoFocus
      value={typed}
      onChange={(event) => setTyped(event.currentTarget.value)}
      onBlur={() => finish(typed)}
      onKeyDown={(event) => {
        if (event.key === "Enter") finish(typed);
        if (event.key === "Escape") setTyped(null);
      }}
    />
  );
}

const SAVED_ICONS: Record<string, TablerIcon> = { saved: IconCloudCheck, offline: IconCloudOff, closed: IconCloudOff };

function Saved() {
  const status = useShown((shown) => shown.status);
  const text = useShown(savedText);
  const Icon = SAVED_ICONS[status] ?? IconCloudUp;
  return (
    <span className={classes.saved} data-status={status} role="status" data-testid="saved">
      <Icon size={17} stroke={1.7} aria-hidden />
      {text}
    </span>
  );
}

const MOST_FACES = 4;

function Others() {
  const people = usePart(useEditor().people, ({ all }) => all);
  if (people.length === 0) return null;
  return (
    <Avatar.Group spacing={8} mr={6}>
      {people.slice(0, MOST_FACES).map(({ peer, name, color }) => (
        <Tooltip key={peer} label={`${name} is here`}>
          <Avatar
            size={30}
            radius="xl"
            name={name}
            alt={`${name} is here`}
            styles={{ placeholder: { background: color, color: "#fff", borderColor: color } }}
          />
        </Tooltip>
      ))}
      {people.length > MOST_FACES && (
        <Avatar size={30} radius="xl">
          +{people.length - MOST_FACES}
        </Avatar>
      )}
    </Avatar.Group>
  );
}

function Do({ command, icon: Icon }: { command: Command; icon: TablerIcon }) {
  const editor = useEditor();
  const { title, keys } = COMMANDS[command];
  const able = useShown(({ canUndo, canRedo }) => (command === "undo" ? canUndo : command === "redo" ? canRedo : true));
  return (
    <Tooltip label={`${title} (${keyLabel(keys[0]).join(" ")})`}>
      <ActionIcon size="lg" aria-label={title} disabled={!able} onClick={() => commands[command](editor)}>
        <Icon size={19} stroke={1.7} />
      </ActionIcon>
    </Tooltip>
  );
}

type Plain = Extract<Dialog, { kind: "commands" | "help" | "execute" | "history" | "versions" }>["kind"];

function Open({ kind, label, icon: Icon }: { kind: Plain; label: string; icon: TablerIcon }) {
  const editor = useEditor();
  return (
    <Tooltip label={label}>
      <ActionIcon size="lg" aria-label={label} onClick={() => editor.dialog.set({ kind })}>
        <Icon size={19} stroke={1.7} />
      </ActionIcon>
    </Tooltip>
  );
}

/** What keeps the draft from being deployed, each with the way to it. */
function Problems() {
  const editor = useEditor();
  const problems = usePart(editor.problems, (all) => all);
  const [opened, setOpened] = useState(false);
  const count = [...problems.values()].reduce((sum, each) => sum + each.length, 0);
  if (count === 0) return null;
  const label = count === 1 ? "1 problem" : `${count} problems`;
  return (
    <Popover opened={opened} onChange={setOpened} width={360} shadow="md" position="bottom-end" trapFocus>
      <Popover.Target>
        <Button
          size="compact-md"
          variant="subtle"
          color="gray"
          leftSection={<IconAlertTriangle size={17} className={classes.warning} />}
          onClick={() => setOpened(!opened)}
        >
          {label}
        </Button>
      </Popover.Target>
      <Popover.Dropdown p="xs">
        <Stack gap={2} mah={360} style={{ overflowY: "auto" }}>
          {[...problems].flatMap(([id, each]) =>
            each.map(({ field, problem }) => (
              <UnstyledButton
                key={`${id} ${field} ${problem}`}
                className={classes.problem}
                disabled={!id}
                onClick={() => {
                  setOpened(false);
                  editor.show(id);
                  editor.open(id);
                }}
              >
                <Text fz="sm" fw={550}>
                  {id ? editor.nameOf(id) : "Workflow"}
                  {field && (
                    <Text span fz="xs" c="dimmed" ml={6}>
                      {field.replace(/^config\./, "")}
                    </Text>
                  )}
                </Text>
                <Text fz="sm">{problem}</Text>
              </UnstyledButton>
            )),
          )}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

function Run() {
  const editor = useEditor();
  const deployed = useQuery({
    queryKey: ["workflows", "one", editor.workflowId],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params: { path: { id: editor.workflowId } } })),
  }).data?.current_version;
  const run = useMutation({ mutationFn: (version: "draft" | "current") => start(editor, { version }) });
  return (
    <Button.Group>
      <Button
        size="sm"
        variant="light"
        leftSection={<IconPlayerPlay size={16} />}
        loading={run.isPending}
        onClick={() => run.mutate("draft")}
      >
        Run
      </Button>
      <Menu position="bottom-end" shadow="md">
        <Menu.Target>
          <Button size="sm" px={7} variant="light" aria-label="More ways to run">
            <IconChevronDown size={15} />
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => editor.dialog.set({ kind: "execute" })}>With input …</Menu.Item>
          <Menu.Item disabled={!deployed} onClick={() => run.mutate("current")}>
            {deployed ? `The deployed version ${deployed}` : "Nothing is deployed"}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </Button.Group>
  );
}

function VersionsButton() {
  const editor = useEditor();
  const workflow = useQuery({
    queryKey: ["workflows", "one", editor.workflowId],
    queryFn: () => body(api.GET("/api/workflows/{id}", { params: { path: { id: editor.workflowId } } })),
  }).data;
  return (
    <Indicator disabled={!workflow?.has_changes} color="yellow" size={9} offset={3} label="">
      <Button
        size="sm"
        leftSection={<IconRocket size={16} />}
        title={workflow?.has_changes ? "The draft is not what is deployed" : undefined}
        onClick={() => editor.dialog.set({ kind: "versions" })}
      >
        Deploy
      </Button>
    </Indicator>
  );
}

/** Floats above the canvas: the one thing that everybody looks for. */
export function AddButton() {
  const editor = useEditor();
  const mayEdit = useShown(({ role }) => role !== "viewer");
  if (!mayEdit) return null;
  return (
    <Tooltip label="Add a node (Tab)" position="left">
      <ActionIcon
        className={classes.add}
        size={44}
        radius="xl"
        variant="filled"
        color="iris"
        aria-label="Add a node"
        onClick={() => commands.palette(editor)}
      >
        <IconPlus size={22} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Below the canvas: how it is looked at. */
export function ViewTools() {
  const editor = useEditor();
  const tools = [
    { command: "zoomOut", icon: IconMinus },
    { command: "zoomIn", icon: IconPlus },
    { command: "fit", icon: IconMaximize },
  ] as const;
  return (
    <Paper className={classes.tools} shadow="xs">
      {tools.map(({ command, icon: Icon }) => (
        <Tooltip key={command} label={`${COMMANDS[command].title} (${keyLabel(COMMANDS[command].keys[0]).join(" ")})`}>
          <ActionIcon aria-label={COMMANDS[command].title} onClick={() => commands[command](editor)}>
            <Icon size={17} stroke={1.8} />
          </ActionIcon>
        </Tooltip>
      ))}
    </Paper>
  );
}
