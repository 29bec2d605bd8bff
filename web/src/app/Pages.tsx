import { lazy, Suspense } from "react";
import { Route, Switch } from "wouter";

const CanvasPage = lazy(() => import("../canvas/CanvasPage"));

/** Which page is at which address. */
export function Pages() {
  return (
    <Suspense>
      <Switch>
        <Route path="/workflows/:id">{({ id }) => <CanvasPage workflowId={id} />}</Route>
      </Switch>
    </Suspense>
  );
}
