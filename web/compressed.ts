import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, gzip } from "node:zlib";
import type { Plugin } from "vite";

const TEXT = /\.(js|css|svg)$/;
const WORTH_BYTES = 1024;

/**
 * Writes `.gz` and `.br` beside every file of text, so that serving one costs a server no more than having it. What lies
 * on the disk is packed: before that, Vite may still change what other plugins see.
 */
export function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    async writeBundle({ dir = "." }) {
      const names = await readdir(join(dir, "assets"));
      await Promise.all(names.filter((name) => TEXT.test(name)).map((name) => pack(join(dir, "assets", name))));
    },
  };
}

async function pack(path: string): Promise<void> {
  const plain = await readFile(path);
  if (plain.length < WORTH_BYTES) return;
  await writeFile(`${path}.gz`, await promisify(gzip)(plain, { level: 9 }));
  await writeFile(`${path}.br`, await promisify(brotliCompress)(plain));
}
