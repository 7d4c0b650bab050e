// SPDX-License-Identifier: Apache-2.0
// What a source cannot start with and waiting would not mend: told to the user, never retried.

/** `message` is complete for the user: what was asked for, which file or address, why not. */
export class SourceConfigError extends Error {
  override readonly name = "SourceConfigError";
}

/** An error's words without the noise of its class. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case "ENOENT":
      return "does not exist";
    case "EACCES":
      return "permission denied";
    case "ENOTDIR":
      return "is not a directory";
    case "EISDIR":
      return "is a directory";
    default:
      return error.message || code || error.name;
  }
}
