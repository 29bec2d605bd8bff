import type { components } from "./schema.gen";

type Schemas = components["schemas"];

export type Me = Schemas["MeAnswer"];
export type Workflow = Schemas["WorkflowAnswer"];
export type Draft = Schemas["DraftAnswer"];
export type Run = Schemas["RunAnswer"];
export type RunStatus = Schemas["RunStatus"];
export type Step = Schemas["StepAnswer"];
export type StepStatus = Schemas["StepStatus"];
export type NodeType = Schemas["NodeTypeAnswer"];
export type Connection = Schemas["ConnectionAnswer"];
export type CredentialType = Schemas["CredentialTypeAnswer"];
export type Trigger = Schemas["TriggerAnswer"];
export type Cluster = Schemas["ClusterAnswer"];
export type RecentRun = Schemas["RecentRunAnswer"];
export type Activity = Schemas["ActivityAnswer"];
export type ConnectionUse = Schemas["UseAnswer"];
export type NewWorkflowBody = Schemas["NewWorkflow"];
