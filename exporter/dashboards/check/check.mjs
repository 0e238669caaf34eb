// See README.md. Usage: node check.mjs ANSWERS
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const answers = process.argv[2] && resolve(process.argv[2]);
const out = join(here, "out");
mkdirSync(out, { recursive: true });
process.chdir(here);

const boards = readdirSync(join(here, "..")).filter((name) => name.endsWith(".json"));

// 1. Types. Literals, not imports of JSON: their types would be widened to string.
function typed(name, board) {
  const file = join(out, `${name}.ts`);
  const text = JSON.stringify(board, null, 1);
  writeFileSync(file, `import type { Dashboard } from "@grafana/schema";\nexport const board: Dashboard = ${text};\n`);
  const flags = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext", "--target", "es2022"];
  try {
    execFileSync(join(here, "node_modules/.bin/tsc"), [...flags, file], { encoding: "utf8" });
    return "";
  } catch (error) {
    return error.stdout;
  }
}

let faults = 0;
const fault = (words) => {
  faults += 1;
  console.log(`FAULT  ${words}`);
};
if (!typed("wrong", { title: 5, schemaVersion: 39 })) fault("a title that is a number was taken");
for (const name of boards) {
  const said = typed(name.replace(".json", ""), JSON.parse(readFileSync(join(here, "..", name), "utf8")));
  if (said) fault(`${name}: ${said}`);
  else console.log(`types  ${name}: a Dashboard of @grafana/schema`);
}

// 2. Transformations.
if (answers) {
  await build({
    entryPoints: [join(here, "transform.mjs")], bundle: true, platform: "node", format: "cjs",
    outfile: join(out, "transform.cjs"), mainFields: ["module", "main"], logLevel: "error",
  });
  for (const name of boards.filter((name) => name !== "map.json")) {
    const said = execFileSync("node", ["-r", join(here, "window.cjs"), join(out, "transform.cjs"), join(here, "..", name), join(answers, name)], {
      encoding: "utf8",
    });
    process.stdout.write(said);
    faults += said.split("\n").filter((line) => line.startsWith("FAULT")).length;
  }
} else {
  console.log("no answers given: transformations were not run");
}
process.exit(faults ? 1 : 0);
