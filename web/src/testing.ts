/** What tests of components need that happy-dom does not have. */
import { cleanup } from "@testing-library/react";
import { afterEach } from "vitest";

afterEach(cleanup);

// Text areas that grow measure again when a font has come.
// The client library is tested without a page.
if ("document" in globalThis) Object.defineProperty(document, "fonts", { value: new EventTarget() });
