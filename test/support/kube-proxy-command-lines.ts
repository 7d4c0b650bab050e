// SPDX-License-Identifier: Apache-2.0
// Random command lines of kube-proxy: every flag with any value in every spelling, and what is no flag at all.

import fc from "fast-check";
import { oneOf } from "./kube-proxy-values.ts";

const NUMBER = oneOf(
  `0 ¦ 1 ¦ -1 ¦ 5 ¦ 31 ¦ 32 ¦ 1000 ¦ -1001 ¦ +5 ¦ 0x10 ¦ 0b11 ¦ 0o17 ¦ 017 ¦ 08 ¦ 1_000 ¦ 1e3 ¦ 5.0 ¦ ¦ ␣5 ¦ 2147483648 ¦ -0x1 ¦ _1 ¦ 1__0 ¦ many`,
);
const DURATION = oneOf(
  "30s ¦ 1m ¦ 0 ¦ 0s ¦ -1s ¦ +5s ¦ 1h30m ¦ 500ms ¦ 1.5h ¦ 1us ¦ 1µs ¦ .5s ¦ 1d ¦ 5 ¦ ¦ ␣1s ¦ soon ¦ 1m1m ¦ 1.000000001s ¦ 99999999999h",
);
const SWITCH = oneOf("true ¦ false ¦ 1 ¦ 0 ¦ t ¦ F ¦ TRUE ¦ True ¦ yes ¦ ¦ ␣true ¦ tRUE ¦ 2");
const TEXT = oneOf(`¦ a ¦ A b ¦ ␣a ¦ é ¦ a,b ¦ a=b ¦ - ¦ -- ¦ -a ¦ 0 ¦ true ¦ ~ ¦ "a" ¦ # ¦ ⇥`);
const CIDRS =
  oneOf(`10.0.0.0/8 ¦ 10.1.2.3/8 ¦ fd00::/8 ¦ 10.0.0.0/8,fd00::/8 ¦ 10.0.0.0/8,11.0.0.0/8 ¦ primary ¦ ¦ primary,10.0.0.0/8 ¦ 10.0.0.0 ¦ x ¦ ␣10.0.0.0/8
  ¦ 10.0.0.0/33 ¦ ::/0,0.0.0.0/0`);
const LISTEN = oneOf(
  "10.0.0.1:80 ¦ [::]:10256 ¦ [::1]:1 ¦ 10.0.0.1:0 ¦ 10.0.0.1:65536 ¦ :80 ¦ 10.0.0.1: ¦ localhost:80 ¦ [10.0.0.1]:80 ¦ fd00::1:80 ¦ 10.0.0.1:http ¦ node ¦",
);
const GATES =
  oneOf(`WatchListClient=true ¦ WatchListClient=0,ComponentFlagz=T ¦ ␣WatchListClient = true ¦ AllAlpha=true ¦ AllBeta=false ¦ AllBeta=false,AllAlpha=true ¦ ,
  ¦ NFTablesProxyMode=false ¦ NoSuchGate=true ¦ WatchListClient ¦ =true ¦ WatchListClient==true ¦ WatchListClient=true=false ¦ WatchListClient=true, ¦ AtomicFIFO=false
  ¦ GangScheduling=true ¦ GenericWorkload=true ¦ GangScheduling=true,GenericWorkload=true ¦ LoggingAlphaOptions=true ¦ LoggingBetaOptions=false ¦ ¦ WatchListClient=maybe`);

/** Names of flags, and what may stand behind them. */
const FLAGS: readonly (readonly [names: string, value: fc.Arbitrary<string>])[] = [
  [
    `bind-address-hard-fail conntrack-tcp-be-liberal init-only cleanup iptables-localhost-nodeports ipvs-strict-arp log-json-split-stream log-text-split-stream
    masquerade-all profiling no-such-flag Masquerade-all masquerade`,
    SWITCH,
  ],
  [
    `config-sync-period conntrack-tcp-timeout-close-wait conntrack-tcp-timeout-established conntrack-udp-timeout conntrack-udp-timeout-stream iptables-min-sync-period
    iptables-sync-period ipvs-min-sync-period ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout log-flush-frequency`,
    DURATION,
  ],
  ["conntrack-max-per-core conntrack-min iptables-masquerade-bit oom-score-adj", NUMBER],
  ["kube-api-burst kube-api-qps healthz-port", oneOf("5 ¦ 1_0 ¦ 0x10 ¦ 2.5 ¦ -1 ¦ x ¦ ¦ 1e3 ¦ .5 ¦ 10256")],
  [
    "hostname-override ipvs-scheduler kubeconfig pod-bridge-interface pod-interface-name-prefix boot-id-file machine-id-file master",
    TEXT,
  ],
  [
    "bind-address",
    oneOf("0.0.0.0 ¦ 10.0.0.1 ¦ :: ¦ fd00::1 ¦ ::ffff:10.0.0.1 ¦ [::1] ¦ node ¦ 1.2.3 ¦ ¦ fe80::1%eth0"),
  ],
  ["healthz-bind-address metrics-bind-address", LISTEN],
  ["cluster-cidr nodeport-addresses ipvs-exclude-cidrs", CIDRS],
  ["proxy-mode", oneOf("iptables ¦ ipvs ¦ nftables ¦ kernelspace ¦ ¦ NFTables")],
  ["detect-local-mode", oneOf("ClusterCIDR ¦ NodeCIDR ¦ BridgeInterface ¦ InterfaceNamePrefix ¦ ¦ nodecidr")],
  ["feature-gates", GATES],
  ["vmodule", oneOf("a=1 ¦ a=1,b*=2 ¦ a ¦ a= ¦ =1 ¦ a=-1 ¦ a=1, ¦ , ¦ ¦ a=2147483648 ¦ a=+1 ¦ a=1=2 ¦ a= 1 ¦ a=01")],
  ["v", oneOf("0 ¦ 2 ¦ 4 ¦ 10 ¦ -1 ¦ x ¦ 2147483648 ¦ 0x1 ¦ +1 ¦ ¦ 02")],
  ["logging-format", oneOf("text ¦ json ¦ xml ¦")],
  ["log-json-info-buffer-size log-text-info-buffer-size", oneOf("0 ¦ 64Ki ¦ 1K ¦ ¦ -1 ¦ 0.0 ¦ 0k ¦ x ¦ +0 ¦ .5")],
  ["show-hidden-metrics-for-version", oneOf("1.35 ¦ 1.36 ¦ 1.34 ¦ ¦ x")],
];

const flag: fc.Arbitrary<readonly string[]> = fc
  .constantFrom(
    ...FLAGS.flatMap(([names, value]) =>
      names
        .trim()
        .split(/\s+/)
        .map((name) => ({ name, value })),
    ),
  )
  .chain(({ name, value }) =>
    fc
      .tuple(value, oneOf("= ¦ = ¦ = ¦ ␣ ¦ "), oneOf("- ¦ - ¦ _"), oneOf("-- ¦ -- ¦ -- ¦ -- ¦ - ¦ ---"))
      .map(([text, between, dash, dashes]) => {
        const lead = dashes + name.replaceAll("-", dash);
        if (between === "") return [lead];
        return between === " " ? [lead, text] : [`${lead}=${text}`];
      }),
  );

const other =
  oneOf(`-- ¦ --⏎--v=2 ¦ serve ¦ ¦ - ¦ -v2 ¦ -v⏎2 ¦ -v ¦ -vv ¦ -v=2 ¦ -v= ¦ -v=x ¦ -x ¦ --=x ¦ -=x ¦ --v ¦ --v=2=3 ¦ -v2v ¦ -V ¦ -v⏎-1 ¦ --v⏎--⏎x
  ¦ --version=maybe ¦ --version=false ¦ -v=+1`).map((words) => words.split("\n"));

/** The words after the program's name. */
export const commandLine: fc.Arbitrary<readonly string[]> = fc
  .array(fc.oneof({ weight: 10, arbitrary: flag }, other), { maxLength: 4 })
  .map((words) => words.flat());
