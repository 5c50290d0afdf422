// The page: loads the network once, and shows verdict, shares of sentences and words, and n-grams.
// Nothing is sent: all requests are for files beside this one.

import * as runtime from "./onnxruntime-web.js";
import { Classifier } from "./classify.js";

const SHADES = 5;
const SVG = "http://www.w3.org/2000/svg";

const element = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** A new element with text, which is never read as HTML. */
function made(kind, className, text = "") {
  const found = document.createElement(kind);
  found.className = className;
  found.textContent = text;
  return found;
}

/** A bar that is filled to `share`, from 0 to 1. */
function bar(className, width, share) {
  const found = document.createElementNS(SVG, "svg");
  const sizes = { whole: width, part: Math.round(10 * width * share) / 10 };
  for (const [name, length] of Object.entries({ class: className, width, height: 10, "aria-hidden": true })) {
    found.setAttribute(name, length);
  }
  for (const [name, length] of Object.entries(sizes)) {
    const part = document.createElementNS(SVG, "rect");
    for (const [attribute, value] of [["class", name], ["width", length], ["height", 10]]) {
      part.setAttribute(attribute, value);
    }
    found.append(part);
  }
  return found;
}

// --------------------------------------------------------------------------------------------------------------------
// Loading

async function file(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} cannot be loaded (status ${response.status})`);
  return response;
}

async function load() {
  const json = async (name) => (await file(name)).json();
  const bytes = async (name) => (await file(name)).arrayBuffer();
  runtime.env.wasm.numThreads = 1; // threads need headers that many static hosts do not send, and one review no threads
  runtime.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", import.meta.url).href };
  const [settings, expressions, network] = await Promise.all([
    json("text.json"),
    json("expressions.json"),
    bytes("model.onnx"),
  ]);
  const table = settings.ngrams ? await bytes("ngrams.npy") : null;
  const session = await runtime.InferenceSession.create(network, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  return new Classifier(settings, expressions, runtime, session, table);
}

async function begin() {
  const classifier = await load();
  const { settings } = classifier;
  element("title").textContent = `${settings.run}: ${settings.title}`;
  document.title = settings.run;
  let running = Promise.resolve(); // a session takes one document at a time
  const classify = () => {
    const text = element("text").value;
    running = running.then(() => answer(classifier, text)).catch(fail);
  };
  element("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    classify();
  });
  element("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) classify();
  });
  prepareDetails();
  element("classify").disabled = false;
  element("state").textContent = "";
  globalThis.classifier = classifier; // for those who look into it from the console of the browser
}

function fail(error) {
  element("state").className = "error";
  element("state").textContent = `${error.message ?? error}. Reload the page; if that does not help, export it again.`;
}

// --------------------------------------------------------------------------------------------------------------------
// An answer

async function answer(classifier, text) {
  const explanation = await classifier.explain(text);
  element("answer").hidden = false;
  element("remarks").replaceChildren(...explanation.remarks.map((remark) => made("li", "", remark)));
  element("verdict-and-shares").hidden = explanation.label === null;
  if (explanation.label === null) {
    element("verdict").textContent = "";
    return;
  }
  element("verdict").textContent = verdict(classifier.settings.class_names, explanation);
  show(classifier, text, explanation, explanation.label);
}

/** The predicted class, or all labels that are predicted. */
function verdict(names, { label, labels, confidence }) {
  if (labels === null) return `${names[label]} (${percent(confidence)})`;
  return labels.length ? labels.map((one) => names[one]).join(" | ") : "no label";
}

/** Shows what speaks for and against a class; where a text may have several labels, another one can be chosen. */
function show(classifier, text, explanation, label) {
  const names = classifier.settings.class_names;
  const margin = (shares) => classifier.margin(shares, label);
  const choose = (other) => {
    show(classifier, text, explanation, other);
    element("probabilities").querySelector("button[aria-pressed=true]").focus(); // its row was made again
  };
  element("probabilities").replaceChildren(...probabilityRows(classifier, explanation, label, choose));
  element("legend").textContent = legend(names[label], margin(explanation.rest), classifier.settings.attends);
  element("sentences").replaceChildren(...sentenceRows(text, explanation.sentences, margin, marks(classifier, label)));
  element("sentences").querySelector(".word").tabIndex = 0;
  const ngrams = classifier.strongest(explanation.lane, label);
  const strongest = ngrams.map(({ ngram, added }) => `${ngram} ${signed(margin(added))}`);
  element("ngrams").textContent = strongest.length ? `n-grams: ${strongest.join(", ")}` : "";
  element("detail").textContent = "";
}

function legend(name, rest, attends) {
  return (
    `Before each sentence: what it adds to the log-odds of ${name}; with the rest (${signed(rest)}) they add up to ` +
    `them. ${attends ? "Then its attention. " : ""}Shaded words speak for ${name}, those with a broken line against ` +
    "it: the n-grams they are in" +
    (attends ? ", and the network's share of the sentence divided by attention, which is not what a word decides." : ".")
  );
}

function probabilityRows({ settings, thresholds }, { probabilities, labels }, shown, choose) {
  const names = settings.class_names;
  const order = [...names.keys()].sort((one, other) => probabilities[other] - probabilities[one]);
  return order.map((label, place) => {
    const predicted = thresholds ? labels.includes(label) : place === 0;
    const row = made("tr", predicted ? "first" : "");
    const name = made("th", "", thresholds ? "" : names[label]);
    name.scope = "row";
    if (thresholds) name.append(chooser(names[label], label === shown, () => choose(label)));
    const cell = made("td", "");
    cell.append(bar(`bar class${label}`, 160, probabilities[label]));
    row.append(name, cell, made("td", "number", percent(probabilities[label])));
    if (thresholds) row.append(made("td", "quiet", `predicted from ${percent(thresholds[label])}`));
    return row;
  });
}

/** A button that shows what speaks for a label. */
function chooser(name, isShown, choose) {
  const button = made("button", "label", name);
  button.type = "button";
  button.setAttribute("aria-pressed", isShown);
  button.addEventListener("click", choose);
  return button;
}

/** The CSS classes of what speaks for a class and against it: of two classes, what is against one is for the other. */
function marks({ settings, thresholds }, label) {
  const other = settings.class_names.length === 2 && !thresholds ? `class${1 - label}` : "otherwise";
  return { for: `for class${label}`, against: `against ${other}` };
}

/** `margin`: what shares of the logits add to the log-odds of the class that is shown. `marks`: of marks(). */
function sentenceRows(text, sentences, margin, marks) {
  const strength = (part) => margin(part.share);
  const strongestOf = (parts) => parts.reduce((most, part) => Math.max(most, Math.abs(strength(part))), 0);
  const strongest = strongestOf(sentences.flatMap(({ words }) => words));
  const strongestSentence = strongestOf(sentences);
  return sentences.map((sentence) => {
    const row = made("li", "");
    const numbers = made("span", "weight");
    const share = strength(sentence);
    numbers.append(bar(`bar ${marks[share < 0 ? "against" : "for"]}`, 48, Math.abs(share) / (strongestSentence || 1)));
    numbers.append(made("span", "number", signed(share)));
    if (sentence.weight !== null) numbers.append(made("span", "number", sentence.weight.toFixed(2)));
    const shown = made("bdi", "sentence");
    shown.dir = "auto";
    let at = sentence.start;
    for (const word of sentence.words) {
      shown.append(text.slice(at, word.start), shadedWord(text, word, strength(word), strongest, marks));
      at = word.end;
    }
    row.append(numbers, shown);
    return row;
  });
}

function shadedWord(text, word, share, strongest, marks) {
  const level = strongest > 0 ? Math.round((SHADES * Math.abs(share)) / strongest) : 0;
  const sign = marks[share < 0 ? "against" : "for"];
  const found = made("span", level ? `word ${sign} level${level}` : "word", text.slice(word.start, word.end));
  found.tabIndex = -1;
  found.dataset.share = signed(share);
  if (word.attention !== null) found.dataset.attention = word.attention.toFixed(2);
  return found;
}

// --------------------------------------------------------------------------------------------------------------------
// The numbers of a word, by mouse or keyboard: one word can be reached by Tab, the others from it by arrow keys

function prepareDetails() {
  const sentences = element("sentences");
  const show = ({ target }) => {
    if (!target.matches(".word")) return;
    const { share, attention } = target.dataset;
    const seen = attention === undefined ? "" : `, ${attention} of the sentence's attention`;
    element("detail").textContent = `${target.textContent}: ${share}${seen}`;
  };
  sentences.addEventListener("mouseover", show);
  sentences.addEventListener("focusin", show);
  sentences.addEventListener("keydown", (event) => {
    const words = [...sentences.querySelectorAll(".word")];
    const place = words.indexOf(event.target);
    const moves = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: words.length - 1 };
    const next = words[moves[event.key]];
    if (place < 0 || !next) return;
    event.preventDefault();
    words[place].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

begin().catch(fail);
