/**
 * While versions N and N−1 run side by side, or after an upgrade, an open page may ask for a file that is gone. The page
 * is then loaded anew, which brings the files of one version; once a minute at most, so that it does not go on for ever.
 */
const KEY = "loaded anew at";
const PAUSE_MS = 60_000;

export function reloadOnMissingFiles(): void {
  window.addEventListener("vite:preloadError", (event) => {
    const last = Number(sessionStorage.getItem(KEY) ?? 0);
    if (Date.now() - last < PAUSE_MS) return; // the error goes on to whoever shows it
    event.preventDefault();
    sessionStorage.setItem(KEY, String(Date.now()));
    window.location.reload();
  });
}
