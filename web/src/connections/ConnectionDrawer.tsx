import { Alert, Button, Divider, Drawer, Group, Loader, Stack, Text, TextInput } from "@mantine/core";
import { IconCircleCheck, IconCircleX, IconExternalLink } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useMemo, useState } from "react";
import { api, body } from "../api/client";
import { asApiError } from "../api/errors";
import type { Connection, CredentialType } from "../api/schema";
import { queries } from "../app/queries";
import { type Path, problemsUnder, setAt } from "../forms/paths";
import { SchemaForm } from "../forms/SchemaForm";
import type { Schema } from "../forms/schema";
import { ErrorNote } from "../ui/ErrorNote";
import { tell } from "../ui/notify";
import { TypeChoice } from "./TypeChoice";

type Fields = Record<string, unknown>;

interface Props {
  /** What is edited; nothing makes a new one. */
  connection?: Connection;
  /** Which types a new one may have; all when left out. */
  types?: string[];
  onClose: () => void;
  onSaved?: (connection: Connection) => void;
}

export function useCredentialTypes() {
  return useQuery({
    queryKey: ["credential types"],
    queryFn: () => body(api.GET("/api/credential-types")),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** Makes a connection or changes one: choose a type, fill in its fields, try it, keep it. */
export function ConnectionDrawer({ connection, types, onClose, onSaved }: Props) {
  const known = useCredentialTypes();
  const fitting = known.data?.filter(({ id }) => !types || types.includes(id)) ?? [];
  const only = fitting.length === 1 ? fitting[0]?.id : undefined;
  const [chosen, setChosen] = useState<string | null>(connection?.credential_type ?? null);
  const type = known.data?.find(({ id }) => id === (chosen ?? only));
  const title = connection ? connection.name : type ? `New connection: ${type.name}` : "New connection";
  return (
    <Drawer opened onClose={onClose} size={520} title={<Text fw={650}>{title}</Text>}>
      <ErrorNote error={known.error} onRetry={() => known.refetch()} />
      {known.isPending && <Loader aria-label="Loading" />}
      {known.data && !type && <TypeChoice types={fitting} onChoose={setChosen} />}
      {type && (
        <Editor
          type={type}
          connection={connection}
          onBack={connection || only ? undefined : () => setChosen(null)}
          onSaved={(saved) => {
            void queries.invalidateQueries({ queryKey: ["connections"] });
            onSaved?.(saved);
          }}
          onClose={onClose}
        />
      )}
    </Drawer>
  );
}

interface EditorProps {
  type: CredentialType;
  connection: Connection | undefined;
  onBack: (() => void) | undefined;
  onSaved: (connection: Connection) => void;
  onClose: () => void;
}

function Editor({ type, connection, onBack, onSaved, onClose }: EditorProps) {
  const [kept, setKept] = useState(connection);
  const [name, setName] = useState(connection?.name ?? type.name);
  const [config, setConfig] = useState<Fields>(connection?.config ?? {});
  const change = (path: Path, value: unknown) => setConfig((before) => setAt(before, path, value) as Fields);
  const saving = useMutation({
    mutationFn: () => save(type, kept, name, config),
    onSuccess: (saved) => {
      onSaved(saved);
      setKept(saved);
      setConfig(saved.config);
      if (needsSignIn(saved)) return;
      tell(`“${saved.name}” is kept.`);
      onClose();
    },
  });
  const trial = useMutation({ mutationFn: () => tryOut(type, kept, config) });
  const forget = () => {
    saving.reset(); // what was said before is about other values
    trial.reset();
  };
  const refused = saving.error ?? trial.error;
  const problems = useMemo(() => problemsUnder("config", refused ? asApiError(refused).details : []), [refused]);
  const tryIt = () => {
    forget();
    trial.mutate();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    forget();
    saving.mutate();
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="md">
        <TextInput
          label="Name"
          description="How people find it"
          required
          maxLength={200}
          value={name}
          error={refused ? asApiError(refused).problemOf("name") : undefined}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <Divider />
        <SchemaForm schema={type.schema as Schema} value={config} onChange={change} problems={problems} />
        <ErrorNote error={refused} />
        {trial.data && <TrialResult {...trial.data} />}
        {kept && needsSignIn(kept) && <Authorize connection={kept} onDone={onSaved} />}
        <Group justify="space-between">
          {onBack ? (
            <Button variant="subtle" color="gray" onClick={onBack}>
              Another type
            </Button>
          ) : (
            <span />
          )}
          <Group gap="sm">
            <Button variant="default" loading={trial.isPending} onClick={tryIt}>
              Test
            </Button>
            <Button type="submit" loading={saving.isPending} disabled={!name.trim()}>
              Save
            </Button>
          </Group>
        </Group>
      </Stack>
    </form>
  );
}

function TrialResult({ success, message }: { success: boolean; message: string }) {
  return (
    <Alert
      color={success ? "teal" : "red"}
      icon={success ? <IconCircleCheck size={18} /> : <IconCircleX size={18} />}
      title={success ? "It works" : "It does not work"}
      role="status"
    >
      {message}
    </Alert>
  );
}

/** Opens the sign-in of the service, and looks for its end whenever this page comes back into view. */
function Authorize({ connection, onDone }: { connection: Connection; onDone: (connection: Connection) => void }) {
  const path = { path: { id: connection.id } };
  const begin = useMutation({
    mutationFn: () => body(api.POST("/api/connections/{id}/authorize", { params: path })),
    onSuccess: ({ authorization_url }) => window.open(authorization_url, "_blank", "popup,width=620,height=720"),
  });
  const watched = useQuery({
    queryKey: ["connections", "one", connection.id],
    queryFn: async () => {
      const now = await body(api.GET("/api/connections/{id}", { params: path }));
      if (now.authorized) onDone(now);
      return now;
    },
    enabled: begin.isSuccess,
    refetchInterval: (query) => (query.state.data?.authorized ? false : 1500),
  });
  if (watched.data?.authorized) return <TrialResult success message={`“${connection.name}” is signed in.`} />;
  return (
    <Alert color="yellow" title="Somebody has to sign in at the service">
      <Stack gap="xs" align="flex-start">
        <ErrorNote error={begin.error} />
        {begin.data && (
          <Text fz="sm">
            The service must know this address: <code>{begin.data.redirect_uri}</code>
          </Text>
        )}
        <Button
          size="compact-md"
          leftSection={<IconExternalLink size={16} />}
          loading={begin.isPending}
          onClick={() => begin.mutate()}
        >
          Sign in there
        </Button>
      </Stack>
    </Alert>
  );
}

function needsSignIn({ authorized, config }: Connection): boolean {
  return authorized === false && config.grant !== "client_credentials";
}

async function save(type: CredentialType, kept: Connection | undefined, name: string, config: Fields) {
  if (!kept) {
    return body(api.POST("/api/connections", { body: { name, credential_type: type.id, config } }));
  }
  const params = { path: { id: kept.id } };
  return body(api.PUT("/api/connections/{id}", { params, body: { name, config: withRemovals(kept.config, config) } }));
}

/** What is left out stays as it is on the server, so what was taken away is said: null falls to the default. */
function withRemovals(before: Fields, now: Fields): Fields {
  return { ...Object.fromEntries(Object.keys(before).map((field) => [field, null])), ...now };
}

/** What is kept and was not changed is tried on the server, which knows its secrets. */
async function tryOut(type: CredentialType, kept: Connection | undefined, config: Fields) {
  if (kept && JSON.stringify(kept.config) === JSON.stringify(config)) {
    return body(api.POST("/api/connections/{id}/test", { params: { path: { id: kept.id } } }));
  }
  if (kept) return { success: false, message: "Save the changes first; what is kept is tried then." };
  return body(api.POST("/api/credential-types/{type}/test", { params: { path: { type: type.id } }, body: { config } }));
}
