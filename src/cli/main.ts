// SPDX-License-Identifier: Apache-2.0
// From arguments to a command to an exit status. What a command needs is loaded when it is called.

import { Command, CommanderError } from "commander";
import { cleanupCommand } from "./cleanup.ts";
import { configCommand } from "./config.ts";
import { demoCommand } from "./demo.ts";
import { dumpCommand } from "./dump.ts";
import { describeFailure } from "./failure.ts";
import { getCommand } from "./get.ts";
import { preflightCommand } from "./preflight.ts";
import { runCommand } from "./run.ts";
import { statusCommand } from "./status.ts";
import { addCommand, EXIT, UsageError } from "./usage.ts";
import { VERSION, versionCommand } from "./version.ts";

const COMMANDS = [
  runCommand,
  preflightCommand,
  statusCommand,
  getCommand,
  dumpCommand,
  cleanupCommand,
  configCommand,
  demoCommand,
  versionCommand,
];

const HELP = `
Examples:
  portolan preflight                                     can this node run it, and if not, why
  portolan run --kubeconfig /etc/kubernetes/admin.conf   serve the Services of a cluster on this node
  portolan run --source dir:/etc/portolan/manifests      the same without Kubernetes
  portolan status                                        is it in sync, what is wrong
  portolan get services -o wide                          what is programmed
  portolan demo                                          see it work, in namespaces of its own

Exit status: 0 done, 1 failed, 2 wrong usage (of run: 1, as kube-proxy), 78 refused (something on this node has to be mended first).
`;

/** Runs the command that the arguments name. Never throws; gives the exit status. */
export async function main(args: readonly string[]): Promise<number> {
  let status: number = EXIT.OK;
  surviveLostOutput();
  const program = new Command("portolan")
    .description("The Kubernetes Service proxy in eBPF for a cluster of any CNI.")
    .version(VERSION, "-V, --version")
    .addHelpText("after", HELP)
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error:/, "portolan:")) })
    .enablePositionalOptions()
    .showHelpAfterError("See: portolan --help")
    .exitOverride();
  for (const spec of COMMANDS) {
    addCommand(program, spec, (result) => {
      status = result;
    });
  }
  const [name = "", ...rest] = args;
  const called = COMMANDS.find(({ usage }) => usage.split(" ")[0] === name);
  const prepared = called?.prepare === undefined ? args : [name, ...called.prepare(rest)];
  const usageStatus = called?.usageStatus ?? EXIT.USAGE;
  try {
    await program.parseAsync(prepared, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.OK : usageStatus;
    if (error instanceof UsageError) {
      process.stderr.write(error.problems.map((problem) => `portolan: ${problem}\n`).join(""));
      process.stderr.write(`See: portolan ${name} --help\n`);
      return usageStatus;
    }
    const failure = describeFailure(error);
    process.stderr.write(`${failure.text}\n`);
    return failure.status;
  }
}

/** A reader that has gone (`| head`) has read enough; any other loss of output is a failure. Neither stops what is under way. */
function surviveLostOutput(): void {
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    process.stderr.write(`portolan: standard output: ${error.message}\n`);
    process.exitCode = EXIT.FAILED;
  });
}
