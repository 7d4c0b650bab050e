// SPDX-License-Identifier: Apache-2.0
// An API server in memory, inside a world's namespace: it takes whatever object a scenario has, as no real one does.
// Prints requests' answers as line-process.ts wants them.

import { type ApiObject, FaultApiServer, type Resource } from "../../support/api-server.ts";
import { answerLines } from "../../support/line-process.ts";
import type { LiveApiRequest } from "./api.ts";

const RESOURCES: Readonly<Record<string, Resource>> = {
  Service: "services",
  EndpointSlice: "endpointslices",
  Node: "nodes",
  ServiceCIDR: "servicecidrs",
};

const server = await FaultApiServer.start();

await answerLines(async ({ remove, put }: LiveApiRequest): Promise<string> => {
  for (const { kind, key } of remove) {
    server.remove(RESOURCES[kind] as Resource, key.includes("/") ? key : `/${key}`);
  }
  for (const object of put) server.put(RESOURCES[object.kind] as Resource, object as unknown as ApiObject);
  return server.url;
});
