// Reads texts with the JavaScript of the web page: node read_texts.mjs CLASSIFY.mjs INPUT.json, JSON on standard output.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [script, input] = process.argv.slice(2);
const { TextReader } = await import(pathToFileURL(script));
const { settings, expressions, texts } = JSON.parse(readFileSync(input, "utf-8"));
const reader = new TextReader(settings, expressions);

/** Positions in code points, as Python counts. */
function counted(text, spans) {
  const places = new Map([[0, 0]]);
  let at = 0;
  [...text].forEach((character, place) => places.set((at += character.length), place + 1));
  return spans.map((sentence) => sentence.map((span) => span.map((position) => places.get(position))));
}

const found = texts.map((text) => {
  const { tokenIds, wordsPerSentence, spans, words, unknownWords, cutWords } = reader.read(text);
  return {
    token_ids: [...tokenIds],
    words_per_sentence: [...wordsPerSentence],
    spans: counted(text, spans),
    counts: [words, unknownWords, cutWords],
  };
});
process.stdout.write(JSON.stringify(found));
