import { ActionIcon, Input, Tooltip } from "@mantine/core";
import { IconMathFunction } from "@tabler/icons-react";
import { type FocusEvent, type ReactNode, useRef, useState } from "react";
import { useEditor } from "../canvas/editor";
import { fieldKey } from "../canvas/people";
import { usePart } from "../canvas/store";
import type { FieldProps } from "../forms/FormContext";
import { CodeEditor } from "./CodeEditor";
import { useShownNode } from "./NodeContext";
import { Preview } from "./Preview";
import classes from "./panel.module.css";
import { isWritten } from "./TextOrJson";
import { useWrapper } from "./useWrapper";

/** Fields that are chosen, never computed. */
const CHOSEN = new Set(["connection", "workflow", "secret"]);

/**
 * Around every field of a node's parameters: the way into expression mode, and who else is in it. A field that holds an
 * expression is in that mode; one that is an expression by its nature always.
 */
export function Expressible({ field, control }: { field: FieldProps; control: ReactNode }) {
  const { schema, kind, value, path } = field;
  const isExpression = schema["x-widget"] === "expression";
  const isText = !isExpression && (kind === "long-text" || (kind === "any" && isWritten(schema, value)));
  const isJson = kind === "any" && schema["x-widget"] === "template";
  const holdsOne = typeof value === "string" && value.includes("{{");
  const [asked, setAsked] = useState(false);
  const frame = useRef<HTMLDivElement>(null);
  const mode = isExpression ? "expression" : !isText && (holdsOne || asked) ? "template" : "plain";
  const focused = frame.current?.contains(document.activeElement) ?? false;
  const mayCompute = !isExpression && !isText && !isJson && !CHOSEN.has(kind);
  const switchMode = () => {
    setAsked(mode === "plain");
    if (mode === "plain") field.onChange(asTemplate(value));
    else field.onChange(undefined);
  };
  return (
    <Whereabouts path={path} tells={!isText} frame={frame}>
      {mayCompute && (
        <ModeSwitch label={field.label} on={mode === "template"} low={field.isEntry} onSwitch={switchMode} />
      )}
      {mode === "plain" ? (
        control
      ) : (
        <ExpressionField field={field} isTemplate={mode === "template"} autoFocus={focused || asked} />
      )}
    </Whereabouts>
  );
}

/** A value as the text that gives it: text as it is, anything else within braces, where its type is kept. */
function asTemplate(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "{{ }}" : `{{ ${JSON.stringify(value)} }}`;
}

interface SwitchProps {
  label: string;
  on: boolean;
  /** Beside a field without a label. */
  low: boolean;
  onSwitch: () => void;
}

function ModeSwitch({ label, on, low, onSwitch }: SwitchProps) {
  const { mayEdit } = useShownNode();
  if (!mayEdit) return null;
  const title = on ? "Back to a plain value" : "Compute it by an expression";
  return (
    <Tooltip label={title}>
      <ActionIcon
        className={classes.mode}
        data-low={low || undefined}
        data-on={on || undefined}
        size="sm"
        variant={on ? "light" : "subtle"}
        color={on ? "iris" : "gray"}
        aria-label={`${label}: ${title.toLowerCase()}`}
        aria-pressed={on}
        onClick={onSwitch}
      >
        <IconMathFunction size={15} />
      </ActionIcon>
    </Tooltip>
  );
}

function ExpressionField({
  field,
  isTemplate,
  autoFocus,
}: {
  field: FieldProps;
  isTemplate: boolean;
  autoFocus: boolean;
}) {
  const { disabled, wrapper } = useWrapper(field);
  const { data } = useShownNode();
  const { value, schema, onChange } = field;
  const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
  return (
    <Input.Wrapper {...wrapper}>
      <CodeEditor
        label={field.label}
        value={text}
        onChange={(next) => onChange(next === "" ? undefined : next)}
        data={data}
        isTemplate={isTemplate}
        placeholder={typeof schema.default === "string" ? schema.default : undefined}
        invalid={field.problem !== undefined}
        readOnly={disabled}
        autoFocus={autoFocus && isTemplate}
      />
      <Preview text={text} isTemplate={isTemplate} />
    </Input.Wrapper>
  );
}

interface WhereaboutsProps {
  path: FieldProps["path"];
  /** Whether one's own being here is told from here; shared texts tell it themselves, with the cursor. */
  tells: boolean;
  frame: React.RefObject<HTMLDivElement | null>;
  children: ReactNode;
}

/** Shows who else is in this field, and tells them that one is. */
function Whereabouts({ path, tells, frame, children }: WhereaboutsProps) {
  const editor = useEditor();
  const { id } = useShownNode();
  const whole = ["config", ...path];
  const key = fieldKey(id, whole);
  const people = usePart(editor.people, ({ typing }) => typing.get(key));
  const come = () => editor.draft.setPresence({ field: { id, path: whole, anchor: 0, head: 0 } });
  const leave = (event: FocusEvent<HTMLDivElement>) => {
    if (!event.currentTarget.contains(event.relatedTarget)) editor.draft.setPresence({ field: null });
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: it only notes that the focus comes and goes
    <div ref={frame} className={classes.field} onFocus={tells ? come : undefined} onBlur={tells ? leave : undefined}>
      {children}
      {people && (
        <div className={classes.typing} role="status">
          {people.map(({ peer, name, color }) => (
            <span key={peer} style={{ "--person": color } as React.CSSProperties}>
              {name} is typing here
            </span>
          ))}
        </div>
      )}
    </div>
  );
}
