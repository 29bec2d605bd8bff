import { Alert, Button, List, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { asApiError } from "../api/errors";

/** An error of the API as people read it: what it says, about which fields, and by which id the log has it. */
export function ErrorNote({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  if (!error) return null;
  const { message, details, requestId, status } = asApiError(error);
  return (
    <Alert color="red" icon={<IconAlertTriangle size={18} />} title={message} role="alert">
      <Stack gap="xs" align="flex-start">
        {details.length > 0 && (
          <List size="sm">
            {details.map(({ field, problem }) => (
              <List.Item key={field + problem}>
                <code>{field}</code> {problem}
              </List.Item>
            ))}
          </List>
        )}
        {status >= 500 && requestId && (
          <Text fz="xs" c="dimmed">
            Request <code>{requestId}</code>
          </Text>
        )}
        {onRetry && (
          <Button size="compact-sm" variant="light" color="red" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Stack>
    </Alert>
  );
}
