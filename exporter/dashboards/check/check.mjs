// See README.md. Usage: node check.mjs ANSWERS
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

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

// 2. Transformations, in a browser as Grafana runs them. The page asks nobody for anything.
if (answers) {
  await build({
    entryPoints: [join(here, "transform.mjs")], bundle: true, platform: "browser", format: "iife", globalName: "check",
    outfile: join(out, "transform.js"), logLevel: "error", define: { "process.env.NODE_ENV": '"production"' },
  });
  const executablePath = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!executablePath) {
    console.error("check: there is no Chromium here: apt-get install chromium, or set CHROMIUM to its path");
    process.exit(1);
  }
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const page = await browser.newPage();
  page.on("pageerror", (error) => fault(`in the page: ${error.message}`));
  page.on("request", (request) => fault(`asked: ${request.url()}`));
  await page.setContent("<!doctype html><title>check</title>");
  await page.addScriptTag({ path: join(out, "transform.js") });
  console.log(`runs   @grafana/data in Chromium ${browser.version()}`);
  for (const name of boards.filter((name) => name !== "map.json")) {
    const read = (path) => JSON.parse(readFileSync(path, "utf8"));
    const lines = await page.evaluate(
      ([board, answers]) => check.transformed(board, answers),
      [read(join(here, "..", name)), read(join(answers, name))],
    );
    for (const line of lines) console.log(line);
    faults += lines.filter((line) => line.startsWith("FAULT")).length;
  }
  await browser.close();
} else {
  console.log("no answers given: transformations were not run");
}
process.exit(faults ? 1 : 0);
