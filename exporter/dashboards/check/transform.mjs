// Runs the transformations of one dashboard's tables and node graph on Prometheus' answers; check.mjs bundles it for a browser.
import { FieldType, getFieldDisplayName, standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame } from "@grafana/data";
import { lastValueFrom } from "rxjs";

const seen = new Set();
standardTransformersRegistry.setInit(() =>
  Object.values(standardTransformers)
    .filter((transformer) => !seen.has(transformer.id) && seen.add(transformer.id))
    .map((transformer) => ({ id: transformer.id, name: transformer.name, transformation: () => Promise.resolve(transformer), editor: () => null })),
);

// A table as Grafana's Prometheus data source makes it of an instant query: Time, labels by name, Value.
function frame(refId, result, isAlone) {
  const labels = [...new Set(result.flatMap((row) => Object.keys(row.metric)))].sort();
  return toDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: result.map((row) => row.value[0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, values: result.map((row) => row.metric[label] ?? "") })),
      { name: isAlone ? "Value" : `Value #${refId}`, type: FieldType.number, values: result.map((row) => Number(row.value[1])) },
    ],
  });
}

/** Returns a line for each thing that was transformed, and one that begins with FAULT for each thing that is wrong. */
export async function transformed(board, answers) {
  const lines = [];
  const fault = (words) => lines.push(`FAULT  ${board.title}: ${words}`);
  let tables = 0;
  for (const panel of board.panels.filter((panel) => panel.transformations)) {
    const own = answers.filter((answer) => answer.panel === panel.id && answer.result.length);
    const frames = own.map((answer) => frame(answer.refId, answer.result, own.length === 1));
    if (!frames.length) continue;
    const made = await lastValueFrom(transformDataFrame(panel.transformations, frames));
    const columns = (made) => made.fields.map((field) => getFieldDisplayName(field, made));
    if (panel.type === "table") {
      tables += 1;
      const wanted = Object.values(panel.transformations[1].options.renameByName);
      const has = columns(made[0]);
      const strange = has.filter((column) => !wanted.includes(column));
      if (strange.length) fault(`${panel.title}: columns nobody named: ${strange}`);
      // A column may be absent where no row has that label; the value never.
      if (!has.includes(wanted.at(-1)) && !has.includes(panel.options.sortBy[0].displayName)) fault(`${panel.title}: no value: ${has}`);
      if (has.length < 2) fault(`${panel.title}: only ${has}`);
    }
    if (panel.type === "nodeGraph") {
      const values = (frame, name) => frame.fields.find((field) => getFieldDisplayName(field, frame) === name)?.values ?? [];
      const edges = made.find((frame) => columns(frame).includes("source"));
      const nodes = made.find((frame) => !columns(frame).includes("source"));
      for (const [frame, wanted] of [[nodes, ["id", "title", "mainstat"]], [edges, ["id", "source", "target", "mainstat", "secondarystat", "color"]]]) {
        const absent = wanted.filter((name) => !columns(frame).includes(name));
        if (absent.length) fault(`${panel.title}: no ${absent} among ${columns(frame)}`);
      }
      const ids = new Set(values(nodes, "id"));
      const lost = [...values(edges, "source"), ...values(edges, "target")].filter((end) => !ids.has(end));
      if (lost.length) fault(`${panel.title}: ends without a node: ${lost}`);
      lines.push(`graph  ${board.title}: ${ids.size} nodes (${columns(nodes)}), ${values(edges, "id").length} edges (${columns(edges)})`);
    }
  }
  lines.push(`tables ${board.title}: ${tables} transformed by @grafana/data`);
  return lines;
}
