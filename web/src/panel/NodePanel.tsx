export function NodePanel() {
  return null;
}
