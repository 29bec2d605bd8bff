import { Center, Loader } from "@mantine/core";
import { lazy, type ReactNode, Suspense } from "react";
import { Redirect, Route, Switch } from "wouter";
import { ClusterPage } from "../pages/ClusterPage";
import { ConnectionsPage } from "../pages/ConnectionsPage";
import { NotFoundPage } from "../pages/NotFoundPage";
import { RunPage } from "../pages/RunPage";
import { RunsPage } from "../pages/RunsPage";
import { SetUpPage } from "../pages/SetUpPage";
import { SignInPage } from "../pages/SignInPage";
import { TriggersPage } from "../pages/TriggersPage";
import { WorkflowsPage } from "../pages/WorkflowsPage";
import { Frame } from "./Frame";
import { SignedIn } from "./SignedIn";

const CanvasPage = lazy(() => import("../canvas/CanvasPage"));

/** Which page is at which address; the server answers the same addresses (`melagent/api/pages.py`). */
export function Pages() {
  return (
    <Suspense fallback={<Waiting />}>
      <Switch>
        <Route path="/sign-in" component={SignInPage} />
        <Route path="/setup" component={SetUpPage} />
        <Route path="/workflows/:id">{({ id }) => <SignedIn>{<CanvasPage workflowId={id} />}</SignedIn>}</Route>
        <Route>
          <SignedIn>
            <Frame>
              <FramedPages />
            </Frame>
          </SignedIn>
        </Route>
      </Switch>
    </Suspense>
  );
}

function FramedPages(): ReactNode {
  return (
    <Switch>
      <Route path="/">
        <Redirect to="/workflows" replace />
      </Route>
      <Route path="/workflows" component={WorkflowsPage} />
      <Route path="/runs" component={RunsPage} />
      <Route path="/runs/:id">{({ id }) => <RunPage key={id} id={id} />}</Route>
      <Route path="/triggers" component={TriggersPage} />
      <Route path="/connections" component={ConnectionsPage} />
      <Route path="/cluster" component={ClusterPage} />
      <Route component={NotFoundPage} />
    </Switch>
  );
}

function Waiting() {
  return (
    <Center h="100vh">
      <Loader aria-label="Loading" />
    </Center>
  );
}
