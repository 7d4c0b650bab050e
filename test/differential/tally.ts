// SPDX-License-Identifier: Apache-2.0
// What the comparison found, scenario by scenario: how many checks were equal, which differed and why they may.

import type { Check } from "../support/checks.ts";
import { type Difference, explanation, IPTABLES_DIFFERS, PORTOLAN_DIFFERS } from "./differences.ts";

/** One check's outcomes in the three worlds. */
export interface Outcomes {
  readonly portolan: string;
  readonly nftables: string;
  readonly iptables: string;
}

interface Row {
  readonly scenario: string;
  checks: number;
  explained: number;
  /** Of iptables mode against nftables mode. */
  modes: number;
}

export class ComparisonTally {
  readonly rows: Row[] = [];
  /** Every difference that no entry allows. */
  readonly unexplained: string[] = [];
  /** Scenarios that could not be compared, with the reason. */
  readonly refused = new Map<string, string>();
  /** How often each entry was needed. */
  readonly uses = new Map<Difference, number>();

  /** Nothing remains to be explained: no second look is needed. */
  static settled(scenario: string, check: Check, { portolan, nftables, iptables }: Outcomes): boolean {
    const allowed = (list: readonly Difference[], other: string): boolean =>
      other === nftables || explanation(list, scenario, check, { nftables, other }) !== undefined;
    return allowed(PORTOLAN_DIFFERS, portolan) && allowed(IPTABLES_DIFFERS, iptables);
  }

  begin(scenario: string): void {
    this.rows.push({ scenario, checks: 0, explained: 0, modes: 0 });
  }

  /** The scenario cannot be compared; its checks so far do not count. */
  leaveOut(scenario: string, reason: string): void {
    this.refused.set(scenario, reason);
    const at = this.rows.findIndex((row) => row.scenario === scenario);
    if (at >= 0) this.rows.splice(at, 1);
  }

  add(step: string, check: Check, { portolan, nftables, iptables }: Outcomes): void {
    const row = this.rows.at(-1);
    if (row === undefined) throw new Error("no scenario has begun");
    row.checks++;
    const where = `${row.scenario} / ${step}: ${check.text}`;
    if (portolan !== nftables) {
      const text = `${where}: portolan "${portolan}", nftables mode "${nftables}"`;
      if (this.#explain(PORTOLAN_DIFFERS, row.scenario, check, { nftables, other: portolan }, text)) row.explained++;
    }
    if (iptables !== nftables) {
      const text = `${where}: iptables mode "${iptables}", nftables mode "${nftables}"`;
      if (this.#explain(IPTABLES_DIFFERS, row.scenario, check, { nftables, other: iptables }, text)) row.modes++;
    }
  }

  #explain(
    list: readonly Difference[],
    ...[scenario, check, outcomes, text]: [string, Check, { nftables: string; other: string }, string]
  ): boolean {
    const reason = explanation(list, scenario, check, outcomes);
    if (reason === undefined) this.unexplained.push(text);
    else this.uses.set(reason, (this.uses.get(reason) ?? 0) + 1);
    return reason !== undefined;
  }

  /** Entries that nothing needed, though they are not chance. */
  unused(): string[] {
    const all = [...PORTOLAN_DIFFERS, ...IPTABLES_DIFFERS];
    return all.filter((one) => !one.byChance && !this.uses.has(one)).map(({ what }) => what);
  }

  get sum(): { readonly checks: number; readonly explained: number } {
    const total = (of: (row: Row) => number): number => this.rows.reduce((sum, row) => sum + of(row), 0);
    return { checks: total(({ checks }) => checks), explained: total(({ explained }) => explained) };
  }

  /** The table, the scenarios left out, the reasons, and the closing line. */
  report(): string {
    const { checks, explained } = this.sum;
    const open = this.unexplained.filter((text) => text.includes(": portolan ")).length;
    const width = Math.max(...this.rows.map(({ scenario }) => scenario.length));
    const line = (name: string, ...cells: readonly (string | number)[]): string =>
      name.padEnd(width) + cells.map((cell) => String(cell).padStart(11)).join("");
    return [
      line("scenario", "checks", "equal", "explained", "ipt differs"),
      ...this.rows.map((row) => line(row.scenario, row.checks, row.checks - row.explained, row.explained, row.modes)),
      ...[...this.refused].map(([scenario, reason]) => `left out: ${scenario}: ${reason}`),
      ...[...this.uses].map(([{ what }, count]) => `${String(count).padStart(5)} × ${what}`),
      `${checks} checks in ${this.rows.length} scenarios: ${checks - explained - open} equal, ${explained} explained, ${open} unexplained`,
    ].join("\n");
  }
}
