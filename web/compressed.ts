import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import type { Plugin } from "vite";

const TEXT = /\.(js|css|svg)$/;
const WORTH_BYTES = 1024;

/** Writes `.gz` and `.br` beside every asset of text, so that serving one costs a server no more than reading it. */
export function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    async generateBundle(_options, bundle) {
      const worth = Object.values(bundle)
        .map((file) => ({ name: file.fileName, source: Buffer.from(file.type === "chunk" ? file.code : file.source) }))
        .filter(({ name, source }) => TEXT.test(name) && source.length >= WORTH_BYTES);
      for (const { name, source } of worth) {
        const gzipped = await promisify(gzip)(source, { level: 9 });
        const brotli = await promisify(brotliCompress)(source, {
          params: { [constants.BROTLI_PARAM_SIZE_HINT]: source.length },
        });
        this.emitFile({ type: "asset", fileName: `${name}.gz`, source: gzipped });
        this.emitFile({ type: "asset", fileName: `${name}.br`, source: brotli });
      }
    },
  };
}
