// The operations an edit is made of.

import type { SentDefinition, SentNode } from "./definition.ts";
import type { Json } from "./json.ts";
import type { Path } from "./paths.ts";

export type NodeAdd = { readonly op: "node.add" } & SentNode;
export type NodeRemove = { readonly op: "node.remove"; readonly id: string };
export type NodeRename = {
  readonly op: "node.rename";
  readonly id: string;
  readonly to: string;
  /** Written by the server: the expressions of other nodes, rewritten. */
  readonly sets?: readonly { readonly id: string; readonly path: Path; readonly value: Json }[];
};
export type NodeSet = { readonly op: "node.set"; readonly id: string; readonly path: Path; readonly value: Json };
export type NodeUnset = { readonly op: "node.unset"; readonly id: string; readonly path: Path };
export type EdgeAdd = {
  readonly op: "edge.add";
  readonly id?: string;
  readonly source: string;
  readonly source_handle?: string;
  readonly target: string;
  readonly target_handle?: string;
};
export type EdgeRemove = { readonly op: "edge.remove"; readonly id: string };
export type MetaSet = { readonly op: "meta.set"; readonly path: Path; readonly value: Json };
/** `changes` is the JSON form of a CodeMirror ChangeSet. The library writes `version` itself when it sends. */
export type TextEdit = {
  readonly op: "text.edit";
  readonly id: string;
  readonly path: Path;
  readonly version?: number;
  readonly changes: TextChanges;
};
export type DraftReplace = { readonly op: "draft.replace"; readonly definition: SentDefinition };

export type TextChanges = readonly (number | readonly [number, ...string[]])[];

export type Operation =
  | NodeAdd
  | NodeRemove
  | NodeRename
  | NodeSet
  | NodeUnset
  | EdgeAdd
  | EdgeRemove
  | MetaSet
  | TextEdit
  | DraftReplace;
