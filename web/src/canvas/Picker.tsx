import { Modal, Text } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import classes from "./Picker.module.css";
import { type Choice, found } from "./search";

interface Props {
  /** What is chosen here, to who cannot see it. */
  label: string;
  placeholder: string;
  choices: readonly Choice[];
  icon?: (choice: Choice) => ReactNode;
  onChoose: (key: string) => void;
  onClose: () => void;
}

const MOST_SHOWN = 60;

/** The dialog sets the focus a moment after it is there; keys that are typed at once would still go to the canvas. */
const take = (field: HTMLInputElement | null) => field?.focus({ preventScroll: true });

/** One field to type in, and what fits below it: arrow keys and Enter choose, Escape leaves. */
export function Picker({ label, placeholder, choices, icon, onChoose, onClose }: Props) {
  const [search, setSearch] = useState("");
  const [place, setPlace] = useState(0);
  const id = useId();
  const shown = useMemo(() => found(choices, search).slice(0, MOST_SHOWN), [choices, search]);
  const list = useRef<HTMLDivElement>(null);
  const at = Math.min(place, shown.length - 1);
  useEffect(() => {
    list.current?.querySelector(`[data-place="${at}"]`)?.scrollIntoView?.({ block: "nearest" });
  }, [at]);
  const choose = (index: number) => {
    const choice = shown[index];
    if (!choice) return;
    onClose();
    onChoose(choice.key);
  };
  const press = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) setPlace((at + step + shown.length) % Math.max(1, shown.length));
    else if (event.key === "Enter") choose(at);
    else return;
    event.preventDefault();
  };
  return (
    <Modal
      opened
      onClose={onClose}
      withCloseButton={false}
      yOffset="12vh"
      centered={false}
      padding={0}
      radius="lg"
      size={480}
      returnFocus={false}
      transitionProps={{ duration: 100 }}
      attributes={{ content: { "aria-label": label } }}
    >
      <div className={classes.search}>
        <IconSearch size={18} stroke={1.8} aria-hidden />
        <input
          ref={take}
          data-autofocus
          role="combobox"
          aria-label={label}
          aria-expanded
          aria-controls={`${id}-list`}
          aria-activedescendant={shown.length > 0 ? `${id}-${at}` : undefined}
          placeholder={placeholder}
          value={search}
          onChange={(event) => {
            setSearch(event.currentTarget.value);
            setPlace(0);
          }}
          onKeyDown={press}
        />
      </div>
      <div ref={list} id={`${id}-list`} role="listbox" aria-label={label} className={classes.list}>
        {shown.map((choice, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field takes the keys, for the option that is marked
          <div
            key={choice.key}
            id={`${id}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === at}
            data-place={index}
            className={classes.option}
            onPointerMove={() => setPlace(index)}
            onClick={() => choose(index)}
          >
            {icon?.(choice)}
            <span className={classes.words}>
              <span className={classes.title}>{choice.title}</span>
              {choice.detail && <span className={classes.detail}>{choice.detail}</span>}
            </span>
            {choice.aside && <span className={classes.aside}>{choice.aside}</span>}
          </div>
        ))}
      </div>
      {shown.length === 0 && (
        <Text c="dimmed" ta="center" p="lg" fz="sm">
          Nothing fits.
        </Text>
      )}
    </Modal>
  );
}
