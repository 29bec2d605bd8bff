/** The page at `/workflows/:id`, loaded when it is first visited. */
export default function CanvasPage({ workflowId }: { workflowId: string }) {
  return <main aria-label="Canvas">{workflowId}</main>;
}
