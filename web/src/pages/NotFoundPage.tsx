import { Button } from "@mantine/core";
import { IconMapQuestion } from "@tabler/icons-react";
import { Link } from "wouter";
import { EmptyState } from "../ui/EmptyState";
import { PageLayout } from "../ui/PageLayout";

export function NotFoundPage() {
  return (
    <PageLayout title="Nothing here">
      <EmptyState
        icon={IconMapQuestion}
        title="There is no such page"
        text="It may have moved, or the link is cut off."
      >
        <Button component={Link} href="/workflows">
          To the workflows
        </Button>
      </EmptyState>
    </PageLayout>
  );
}
