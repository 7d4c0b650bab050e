// SPDX-License-Identifier: Apache-2.0
// What an Event on the Node, a Service or an EndpointSlice says, whoever sends it: what `kubectl describe` shows of this agent.

/** The object an Event is about. */
export interface Regarding {
  readonly kind: "Node" | "Service" | "EndpointSlice";
  readonly name: string;
  /** "": the object is in no namespace; its Events are in "default". */
  readonly namespace: string;
  readonly uid?: string;
}

export interface EventText {
  readonly regarding: Regarding;
  readonly type: "Normal" | "Warning";
  /** What it is, in UpperCamelCase: part of what makes two Events the same. */
  readonly reason: string;
  /** What was being done, in UpperCamelCase. */
  readonly action: string;
  /** For people; left out where the reason says it all. */
  readonly note?: string;
}

/** Never throws, never waits. */
export interface EventSink {
  event(event: EventText): void;
}

/** Where there is no API server to tell. */
export const silent: EventSink = { event: () => undefined };
