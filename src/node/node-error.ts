// SPDX-License-Identifier: Apache-2.0
// The error of a node that an agent cannot go on with.

/**
 * The Node object, or a port that has to be had, does not let this agent go on: it ends with status 1, and the next start
 * begins with what is then.
 */
export class NodeError extends Error {
  override readonly name = "NodeError";
}
