/**
 * Conditions like `auth == 'hmac' && preset != 'generic'`, by which a field is shown: comparisons of fields with
 * literals, joined by `&&` or `and`, and `||` or `or`, which binds less. A condition that is not understood shows the field.
 */
export function isVisible(condition: string | undefined, valueAt: (name: string) => unknown): boolean {
  if (!condition) return true;
  const answers = split(condition, OR).map((part) => {
    const each = split(part, AND).map((comparison) => compare(comparison, valueAt));
    return each.includes(false) ? false : each.includes(null) ? null : true;
  });
  return answers.includes(true) || answers.includes(null);
}

const OR = /\s*(?:\|\||\bor\b)\s*(?=(?:[^']*'[^']*')*[^']*$)/;
const AND = /\s*(?:&&|\band\b)\s*(?=(?:[^']*'[^']*')*[^']*$)/;
const COMPARISON = /^(\w+)\s*(==|!=)\s*(?:'([^']*)'|(true|false|null|-?\d+(?:\.\d+)?))$/;

function split(text: string, separator: RegExp): string[] {
  return text.trim().split(separator);
}

/** Null when it is no comparison that we know. */
function compare(text: string, valueAt: (name: string) => unknown): boolean | null {
  const found = COMPARISON.exec(text.trim());
  if (!found) return null;
  const [, name = "", operator, quoted, bare] = found;
  const wanted = quoted ?? (bare === undefined ? "" : JSON.parse(bare));
  return (valueAt(name) === wanted) === (operator === "==");
}
