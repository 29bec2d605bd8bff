import { Center } from "@mantine/core";
import { Component, type ReactNode } from "react";
import { ErrorNote } from "../ui/ErrorNote";

/** Shows what has broken a page, instead of an empty one. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (!this.state.error) return this.props.children;
    const isFile = /dynamically imported|preload/i.test(this.state.error.message);
    const error = isFile ? new Error("A part of this page could not be loaded.") : this.state.error;
    return (
      <Center h="100vh" p="md">
        <ErrorNote error={error} onRetry={() => window.location.reload()} />
      </Center>
    );
  }
}
