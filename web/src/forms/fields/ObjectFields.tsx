import { Accordion, Stack } from "@mantine/core";
import { useForm } from "../FormContext";
import { isObject, type Path } from "../paths";
import { labelOf, resolve, type Schema } from "../schema";
import { isVisible } from "../visible";
import { Field } from "./Field";

const MAIN = "Settings";

/** The fields of an object, those of a group other than the main one behind its name. */
export function ObjectFields({ schema, path, value }: { schema: Schema; path: Path; value: unknown }) {
  const { root, problems } = useForm();
  const object = isObject(value) ? value : {};
  const properties = schema.properties ?? {};
  const valueAt = (name: string) => object[name] ?? properties[name]?.default;
  const shown = Object.entries(properties).filter(([, field]) => isVisible(field["x-visible-if"], valueAt));
  const fieldsOf = (group: string) =>
    shown
      .filter(([, field]) => (field["x-group"] ?? MAIN) === group)
      .map(([name, field]) => {
        const resolved = resolve(field, root);
        return (
          <Field
            key={name}
            {...resolved}
            path={[...path, name]}
            label={labelOf(name, resolved.schema)}
            required={schema.required?.includes(name) ?? false}
            value={object[name]}
          />
        );
      });
  const groups = [...new Set(shown.map(([, field]) => field["x-group"] ?? MAIN))].filter((group) => group !== MAIN);
  const hasProblem = (group: string) =>
    shown.some(
      ([name, field]) => field["x-group"] === group && [...problems.keys()].some((each) => each.startsWith(name)),
    );
  return (
    <Stack gap="md">
      {fieldsOf(MAIN)}
      {groups.length > 0 && (
        <Accordion multiple chevronPosition="left" variant="default" defaultValue={groups.filter(hasProblem)}>
          {groups.map((group) => (
            <Accordion.Item key={group} value={group}>
              <Accordion.Control px={0}>{group}</Accordion.Control>
              <Accordion.Panel>
                <Stack gap="md">{fieldsOf(group)}</Stack>
              </Accordion.Panel>
            </Accordion.Item>
          ))}
        </Accordion>
      )}
    </Stack>
  );
}
