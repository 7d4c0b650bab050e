// SPDX-License-Identifier: Apache-2.0
// Fields of kube-proxy's configuration by kind. Absent, null and empty give the default; so does zero, where it says so.

import * as v from "valibot";
import { float32 } from "../go-number.ts";
import { formatDuration, parseDuration } from "./duration.ts";

const MAX_INT32 = 2 ** 31 - 1;

export const text = (otherwise = "") =>
  v.pipe(
    v.nullish(v.string(), ""),
    v.transform((value) => value || otherwise),
  );

export const flag = (otherwise = false) => v.nullish(v.boolean(), otherwise);

const int32 = v.pipe(
  v.number(),
  v.integer("must be a whole number"),
  v.minValue(-MAX_INT32 - 1, `must be ${-MAX_INT32 - 1} or more`),
  v.maxValue(MAX_INT32, `must be ${MAX_INT32} or less`),
);

/** Zero counts. */
export const integer = (otherwise: number) => v.nullish(int32, otherwise);

/** Zero counts; null stays null. */
export const integerOrNull = v.optional(v.nullable(int32), null);

/** 32 bits; zero gives the default. */
export const floatOr = (otherwise: number) =>
  v.pipe(
    v.nullish(v.number(), 0),
    v.check((value) => float32(value) !== null, "must fit into 32 bits"),
    v.transform((value) => float32(value) || otherwise),
  );

/** Zero gives the default. */
export const integerOr = (otherwise: number) =>
  v.pipe(
    v.nullish(int32, 0),
    v.transform((value) => value || otherwise),
  );

const isDuration = (value: string | number): boolean =>
  value === "" || value === 0 || (typeof value === "string" && parseDuration(value) !== null);
const secondsOf = (value: string | number): number => (typeof value === "string" ? (parseDuration(value) ?? 0) : 0);
const aDuration = v.pipe(
  v.union([v.string(), v.number()]),
  v.check(isDuration, 'must be a duration, as "1h30m" or "500ms"'),
);

/** Seconds; zero gives the default. */
export const duration = (otherwiseSec: number) =>
  v.pipe(
    v.nullish(aDuration, 0),
    v.transform((value) => secondsOf(value) || otherwiseSec),
  );

/** Seconds; zero counts, and null stays null. */
export const durationOrNull = v.pipe(
  v.optional(v.nullable(aDuration), null),
  v.transform((value) => (value === null || value === "" ? null : secondsOf(value))),
);

/** Kept as text in Go's form. */
export const durationText = v.pipe(
  v.nullish(aDuration, 0),
  v.transform((value) => formatDuration(secondsOf(value))),
);
