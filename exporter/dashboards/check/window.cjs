// The window that @grafana/data asks for when it is loaded.
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("<!doctype html>", { url: "http://localhost/" });
window.matchMedia = () => ({ matches: false, addEventListener() {}, removeEventListener() {}, addListener() {}, removeListener() {} });
for (const name of ["document", "HTMLElement", "Element", "Node", "MutationObserver", "getComputedStyle", "localStorage", "DOMParser"]) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
}
globalThis.window = window;
