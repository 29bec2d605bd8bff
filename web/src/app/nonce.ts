/** The nonce of this page, which every style that is not in a file needs: for Mantine, CodeMirror and scroll locking. */
export function nonce(): string {
  return document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce ?? "";
}

// `get-nonce`, by which scroll locking finds it, looks for this name.
(globalThis as { __webpack_nonce__?: string }).__webpack_nonce__ = nonce();
