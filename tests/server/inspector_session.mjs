// The Inspector's mcpdo in one process: its daemon, which holds a session, and its command line, run for each line of
// stdin, a list of arguments. Each run is told of on stdout: what it printed, or what made it fail.
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";

const [, , build] = process.argv;
await import(`${build}/mcpdod.js`);
while (!existsSync(`${process.env.MCP_INSPECTOR_DAEMON_DIR}/mcpdod.sock`)) await setTimeout(5);
const { runMcp } = await import(`${build}/mcp-bin.js`);

const write = process.stdout.write.bind(process.stdout);
let printed = "";
process.stdout.write = (text, ...more) => {
  printed += text;
  const done = more.at(-1);
  if (typeof done === "function") done();
  return true;
};
for await (const line of createInterface({ input: process.stdin })) {
  printed = "";
  let failed = null;
  try {
    await runMcp(["node", "mcpdo", ...JSON.parse(line)]);
  } catch (error) {
    failed = error.envelope?.code ?? error.code ?? String(error);
  }
  write(JSON.stringify({ printed, failed }) + "\n");
}
