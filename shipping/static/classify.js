// Classifies texts in the browser. The same results as classify.py of a bundle, which a test compares.
//
//   expressions.json  the regular expressions of the text processing (shipping/expressions.py)
//   text.json         sentence splitter, vocabulary, limits, class names
//   model.onnx        the network; ngrams.npy is the table of the n-gram lane, if there is one
//
// N words   S sentences   C classes   G n-grams in the table. Positions count UTF-16 units, as JavaScript's strings do.

const BUNDLE_FORMAT = 1;
const UNKNOWN_ID = 1;
const LONGEST_NGRAM = 3;
const STRONGEST_NGRAMS = 10;
const REMEMBERED_DECISIONS = 50000;

// --------------------------------------------------------------------------------------------------------------------
// Text

// Bits of a word's orthographic contexts: where in sentences, and in which case, training has seen it.
const INTERNAL_UPPER = 1 << 2;
const INITIAL_LOWER = 1 << 4;
const ANY_UPPER = (1 << 1) | INTERNAL_UPPER | (1 << 3);
const ANY_LOWER = INITIAL_LOWER | (1 << 5) | (1 << 6);
const NUMBER_TYPE = "##number##";

/** What the expressions of one text processing find; each text ends at `stop`, and what is before `start` can be seen. */
class Expressions {
  constructor(sources) {
    this.everywhere = {};
    this.here = {};
    for (const [name, source] of Object.entries(sources)) {
      this.everywhere[name] = new RegExp(source, name === "candidate" ? "dgu" : "gu");
      this.here[name] = new RegExp(source, "uy");
    }
    this.only_letters = new RegExp(`^${sources.letter}+$`, "u");
    this.assigned = new RegExp(sources.unassigned.replace("[", "[^") + "+", "gu");
  }

  /** All matches in text[start:stop]. */
  *all(name, text, start = 0, stop = text.length) {
    const expression = this.everywhere[name];
    const seen = text.slice(0, stop);
    for (let at = start; ; ) {
      expression.lastIndex = at;
      const match = expression.exec(seen);
      if (match === null) return;
      at = match.index + match[0].length;
      yield match;
    }
  }

  /** The match that begins at `start`, or null. */
  at(name, text, start = 0, stop = text.length) {
    const expression = this.here[name];
    expression.lastIndex = start;
    return expression.exec(text.slice(0, stop));
  }

  /** Lower case by the version of Unicode of the text processing: a newer browser knows more letters. */
  lower(text) {
    return isASCII(text) ? text.toLowerCase() : text.replace(this.assigned, (known) => known.toLowerCase());
  }

  /** The length of a text without the white space at its end. */
  lengthWithoutSpace(text) {
    let length = text.length;
    while (length > 0 && this.at("space", text, length - 1) !== null) length -= 1;
    return length;
  }
}

function isASCII(text) {
  return !/[^\0-\x7f]/.test(text);
}

/** Sentence boundaries (Kiss and Strunk, Computational Linguistics 32, 2006) with learnt parameters. */
class Punkt {
  constructor(parameters, expressions) {
    this.expressions = expressions;
    this.closing = new Set(parameters.closing_signs);
    this.abbreviations = new Set(parameters.abbreviations);
    this.collocations = new Set(parameters.collocations.map((pair) => pair.join("\n")));
    this.starters = new Set(parameters.sentence_starters);
    this.contexts = new Map();
    for (const [bits, words] of Object.entries(parameters.contexts)) {
      for (const word of words) this.contexts.set(word, Number(bits));
    }
    this.doubtful = new Set([...parameters.abbreviations, ...parameters.collocations.map(([first]) => first)]);
    this.decisions = new Map();
  }

  /** The sentences of text[start:stop] as [start, end], without white space between them. */
  spans(text, start, stop) {
    const sentences = [];
    let begin = start;
    for (const [match, wordStart] of this.lastCandidates(text, start, stop)) {
      if (!this.endsSentence(text, match, wordStart, stop)) continue;
      const end = match.index + match[0].length;
      sentences.push([begin, end]);
      begin = nextWordStart(match) ?? end;
    }
    sentences.push([begin, start + this.expressions.lengthWithoutSpace(text.slice(start, stop))]);
    if (sentences.some(([first]) => this.closing.has(text[first]))) return this.withClosingSigns(text, sentences);
    return sentences.filter(([first, end]) => first < end);
  }

  /** Of the candidates that no white space parts (`what?!`) the last, with the start of the word before it. */
  *lastCandidates(text, start, stop) {
    let wordStart = start;
    let at = start;
    let previous = null;
    for (const match of this.expressions.all("candidate", text, start, stop)) {
      const space = lastSpace(text, at, match.index);
      const nextStart = space > at ? space + 1 : wordStart;
      if (previous !== null && at <= nextStart) yield [previous, wordStart];
      previous = match;
      wordStart = nextStart;
      at = match.index;
    }
    if (previous !== null) yield [previous, wordStart];
  }

  endsSentence(text, match, wordStart, stop) {
    const at = match.index;
    if (text[at] !== "." || (at > wordStart && ")\"]}".includes(text[at - 1]))) return true;
    const word = this.expressions.lower(text.slice(wordStart, at));
    const letters = this.expressions.only_letters.test(word) ? [...word].length : 0;
    if (letters > 1 && !this.doubtful.has(word)) return true;
    const after = nextWordStart(match);
    const nextWord = after === undefined ? null : this.expressions.at("next_word", text, after, stop);
    return this.containsEnd(text.slice(wordStart, nextWord ? after + nextWord[0].length : at + 2));
  }

  /** Whether any word of the context but the last ends a sentence. */
  containsEnd(context) {
    let decision = this.decisions.get(context);
    if (decision !== undefined) return decision;
    const words = context
      .split("\n")
      .filter((line) => this.expressions.lengthWithoutSpace(line) > 0)
      .flatMap((line) => Array.from(this.expressions.all("punkt_word", line), ([word]) => this.classified(word)));
    decision = words.slice(1).some((following, place) => this.reconsider(words[place], following));
    if (this.decisions.size >= REMEMBERED_DECISIONS) this.decisions.clear();
    this.decisions.set(context, decision);
    return decision;
  }

  /** What a word is by itself: end of a sentence, abbreviation, ellipsis or none of them. */
  classified(word) {
    const lower = this.expressions.lower(word);
    const kind = lower.replace(this.expressions.everywhere.number, NUMBER_TYPE);
    const found = { word, kind, ends: false, abbreviation: false, ellipsis: false };
    if ([".", "?", "!"].includes(word)) return { ...found, ends: true };
    if (this.expressions.at("ellipsis", word) !== null) return { ...found, ellipsis: true };
    if (!word.endsWith(".") || word.endsWith("..")) return found;
    const base = this.expressions.lower(word.slice(0, -1));
    const known = this.abbreviations.has(base) || this.abbreviations.has(base.split("-").at(-1));
    return { ...found, ends: !known, abbreviation: known };
  }

  /** Whether `word` ends a sentence, by the word that follows. */
  reconsider(word, following) {
    if (!word.word.endsWith(".")) return word.ends;
    const kind = withoutFullStop(word.kind);
    const nextKind = following.ends ? withoutFullStop(following.kind) : following.kind;
    if (this.collocations.has(`${kind}\n${nextKind}`)) return false;
    const initial = this.expressions.at("initial", word.word) !== null;
    const starts = this.startsSentence(following, nextKind);
    const upper = this.expressions.at("upper", following.word) !== null;
    const begins = starts || (upper && this.starters.has(nextKind));
    if (begins && (word.abbreviation || word.ellipsis) && !initial) return true;
    if (starts === false && (initial || kind === NUMBER_TYPE)) return false;
    const neverLower = !((this.contexts.get(nextKind) ?? 0) & ANY_LOWER);
    return word.ends && !(initial && starts === null && upper && neverLower);
  }

  /** Whether a word starts a sentence: yes, no, or null where its case decides nothing. */
  startsSentence({ word }, kind) {
    if ([";", ":", ",", ".", "!", "?"].includes(word)) return false;
    const seen = this.contexts.get(kind) ?? 0;
    if (this.expressions.at("upper", word) !== null && seen & ANY_LOWER && !(seen & INTERNAL_UPPER)) return true;
    if (this.expressions.at("lower", word) !== null && (seen & ANY_UPPER || !(seen & INITIAL_LOWER))) return false;
    return null;
  }

  /** The sentences, each with the quotes and brackets behind its full stop. */
  withClosingSigns(text, sentences) {
    const found = [];
    let moved = 0;
    sentences.forEach(([first, end], place) => {
      const start = first + moved;
      const following = sentences[place + 1];
      const closing = following ? this.expressions.at("closing_signs", text, ...following) : null;
      moved = closing ? closing[0].length : 0;
      if (closing) found.push([start, following[0] + this.expressions.lengthWithoutSpace(closing[0])]);
      else if (start < end) found.push([start, end]);
    });
    return found;
  }
}

/** Where the word behind white space starts, for a candidate that has one. */
function nextWordStart(match) {
  return match.indices[1]?.[0];
}

/** Position of the last ASCII white space in text[start:stop], -1 if there is none. */
function lastSpace(text, start, stop) {
  for (let at = stop - 1; at >= start; at -= 1) {
    const code = text.charCodeAt(at);
    if (code === 32 || (code >= 9 && code <= 13)) return at;
  }
  return -1;
}

/** A kind without its final full stop; a full stop alone stays. */
function withoutFullStop(kind) {
  return kind.length > 1 && kind.endsWith(".") ? kind.slice(0, -1) : kind;
}

/** Cuts texts into sentences and words and looks the words up. */
export class TextReader {
  constructor(settings, sources) {
    this.expressions = new Expressions(sources);
    this.punkt = new Punkt(settings.punkt, this.expressions);
    this.vocabulary = settings.vocabulary;
    this.ids = new Map(settings.vocabulary.map((word, id) => [word, id]));
    this.maxWords = settings.max_words_per_sentence;
    this.maxSentences = settings.max_sentences_per_document;
  }

  /**
   * tokenIds Int32Array [N], one <unk> for a text without a word; wordsPerSentence Int32Array [S]; spans [S], each a
   * list of the [start, end] of its words, empty for a text without a word; and numbers of words.
   */
  read(text) {
    const plain = this.blankMarkup(text);
    const all = [];
    for (const [start, end] of this.segments(plain)) {
      for (const sentence of this.punkt.spans(plain, start, end)) all.push(...this.pieces(plain, ...sentence));
    }
    const spans = all.slice(0, this.maxSentences);
    const ids = spans.flat().map(([start, end]) => this.idOf(plain.slice(start, end)));
    const lengths = spans.map((sentence) => sentence.length);
    return {
      tokenIds: Int32Array.from(ids.length ? ids : [UNKNOWN_ID]),
      wordsPerSentence: Int32Array.from(lengths.length ? lengths : [1]),
      spans,
      words: ids.length,
      unknownWords: ids.filter((id) => id === UNKNOWN_ID).length,
      cutWords: all.slice(this.maxSentences).flat().length,
    };
  }

  idOf(word) {
    return this.ids.get(this.expressions.lower(word)) ?? UNKNOWN_ID;
  }

  /** Replaces HTML tags and control characters by white space of the same length. */
  blankMarkup(text) {
    const plain = text
      .replace(this.expressions.everywhere.control, " ")
      .replaceAll("<br />", "\n".repeat("<br />".length));
    return plain.replace(this.expressions.everywhere.markup, (tag, ...found) =>
      (found.at(-1).paragraph ? "\n" : " ").repeat(tag.length),
    );
  }

  /** [start, end] of paragraphs and of what full stops end that Punkt does not know. */
  *segments(text) {
    let start = 0;
    for (const match of this.expressions.all(isASCII(text) ? "paragraph_end" : "segment_end", text)) {
      const end = match.index + match[0].length;
      yield [start, end];
      start = end;
    }
    if (start < text.length) yield [start, text.length];
  }

  /** The words of a sentence as [start, end]; a long sentence is cut into several. */
  *pieces(text, start, end) {
    const words = [];
    for (const match of this.expressions.all("word", text, start, end)) {
      words.push([match.index, match.index + match[0].length]);
    }
    for (let first = 0; first < words.length; first += this.maxWords) yield words.slice(first, first + this.maxWords);
  }
}

// --------------------------------------------------------------------------------------------------------------------
// The n-gram lane: a linear classifier on runs of one to three words, beside the network

export class Ngrams {
  /** `file`: ArrayBuffer of ngrams.npy, [G] of int64 key (ascending), float32 idf and float32 weights [C]. */
  constructor(file, { word_bits, bias, scale }) {
    const start = 10 + new DataView(file).getUint16(8, true);
    this.rows = new DataView(file, start);
    this.classes = bias.length;
    this.rowBytes = 12 + 4 * this.classes;
    this.count = this.rows.byteLength / this.rowBytes;
    this.wordSize = 2 ** word_bits;
    this.lowSize = 2 ** (32 - word_bits);
    this.bias = bias.map((value) => scale * value);
    this.scale = scale;
  }

  /** The row of an n-gram, whose key is the ids side by side in 64 bits; -1 if there is none. */
  rowOf(ids) {
    const [first, second, third] = [0, 0, ...ids].slice(-LONGEST_NGRAM);
    const upper = first * this.wordSize + second;
    const high = Math.floor(upper / this.lowSize);
    const low = (upper % this.lowSize) * this.wordSize + third;
    let [from, to] = [0, this.count];
    while (from < to) {
      const middle = (from + to) >>> 1;
      const at = middle * this.rowBytes;
      const difference = this.rows.getUint32(at + 4, true) - high || this.rows.getUint32(at, true) - low;
      if (difference === 0) return middle;
      if (difference < 0) from = middle + 1;
      else to = middle;
    }
    return -1;
  }

  /** What each n-gram of a document adds to its logits: list of {ids, places, added [C]}. */
  contributions(tokenIds) {
    const found = new Map();
    for (let length = 1; length <= LONGEST_NGRAM; length += 1) {
      for (let place = 0; place + length <= tokenIds.length; place += 1) {
        const ids = Array.from(tokenIds.subarray(place, place + length));
        const row = ids.every((id) => id > UNKNOWN_ID) ? this.rowOf(ids) : -1;
        if (row < 0) continue;
        if (!found.has(row)) found.set(row, { ids, row, places: [] });
        found.get(row).places.push(place);
      }
    }
    const ngrams = [...found.values()];
    for (const one of ngrams) {
      one.value = (1 + Math.log(one.places.length)) * this.rows.getFloat32(one.row * this.rowBytes + 8, true);
    }
    const norm = Math.sqrt(sum(ngrams.map(({ value }) => value ** 2))) || 1;
    for (const one of ngrams) {
      const weight = (label) => this.rows.getFloat32(one.row * this.rowBytes + 12 + 4 * label, true);
      one.added = this.bias.map((_, label) => ((this.scale * one.value) / norm) * weight(label));
    }
    return ngrams;
  }
}

// --------------------------------------------------------------------------------------------------------------------
// The network

const sum = (values) => values.reduce((total, value) => total + value, 0);
const plus = (one, other) => one.map((value, place) => value + other[place]);
const times = (factor, values) => Array.from(values, (value) => factor * value);

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  return times(1 / sum(exponentials), exponentials);
}

const sigmoid = (logits) => logits.map((logit) => 1 / (1 + Math.exp(-logit)));

export class Classifier {
  /** `runtime`: onnxruntime-web; `session`: of model.onnx; `table`: ArrayBuffer of ngrams.npy or null. */
  constructor(settings, sources, runtime, session, table) {
    if (settings.bundle_format !== BUNDLE_FORMAT) throw new Error("these files are of different exports");
    this.settings = settings;
    this.thresholds = settings.thresholds ?? null; // only where a text may have several labels
    this.reader = new TextReader(settings, sources);
    this.runtime = runtime;
    this.session = session;
    this.ngrams = settings.ngrams ? new Ngrams(table, settings.ngrams) : null;
  }

  /** What shares of the logits [C] add to the log-odds of a class: where a text has one, beyond the mean of the others. */
  margin(shares, label) {
    if (this.thresholds) return shares[label];
    return shares[label] - (sum(shares) - shares[label]) / (shares.length - 1);
  }

  /**
   * label (the likeliest; null for a text without a word), confidence, probabilities [C], logits [C], rest [C],
   * sentences with share [C], weight and words, each of these with attention and share [C]; the shares of all sentences
   * and the rest add up to the logits, and the shares of its words to a sentence's. Where a text may have several
   * labels, labels are those that reach their thresholds; else null. lane is for strongest().
   */
  async explain(text) {
    const document = this.reader.read(text);
    const network = await this.run(document);
    const lane = this.ngrams ? this.ngrams.contributions(document.tokenIds) : [];
    const bias = this.ngrams ? this.ngrams.bias : network.rest.map(() => 0);
    const words = this.sharesOfWords(document, network, lane);
    const logits = lane.reduce((total, { added }) => plus(total, added), plus(network.logits, bias));
    const probabilities = this.thresholds ? sigmoid(logits) : softmax(logits);
    const reached = (this.thresholds ?? []).flatMap((threshold, place) => (probabilities[place] >= threshold ? [place] : []));
    const label = logits.indexOf(Math.max(...logits));
    return {
      label: document.words ? label : null,
      labels: this.thresholds && document.words ? reached : null,
      confidence: document.words ? probabilities[label] : null,
      probabilities,
      logits,
      rest: plus(network.rest, bias),
      sentences: sentencesOf(document, network, words),
      ngrams: this.strongest(lane, label),
      lane,
      words: document.words,
      unknownWords: document.unknownWords,
      remarks: remarks(document, this.settings.short_text ?? 0),
    };
  }

  /** What the network gives for a document: logits, rest, and with attention shares and weights. */
  async run({ tokenIds, wordsPerSentence }) {
    const { scale, bias, attends } = this.settings;
    const tensor = (values, shape) => new this.runtime.Tensor("int32", values, shape);
    if (!attends) {
      const { logits } = await this.session.run({ token_ids: tensor(tokenIds, [tokenIds.length]) });
      return { logits: times(scale, logits.data), rest: times(scale, logits.data), width: 0 };
    }
    const width = Math.max(...wordsPerSentence);
    const padded = new Int32Array(wordsPerSentence.length * width);
    let first = 0;
    wordsPerSentence.forEach((length, sentence) => {
      padded.set(tokenIds.subarray(first, first + length), sentence * width);
      first += length;
    });
    const outputs = await this.session.run({
      token_ids: tensor(padded, [wordsPerSentence.length, width]),
      words_per_sentence: tensor(wordsPerSentence, [wordsPerSentence.length]),
    });
    return {
      logits: times(scale, outputs.logits.data),
      rest: times(scale, bias),
      width,
      attention: outputs.word_weights.data,
      weights: outputs.sentence_weights.data,
      shares: times(scale, outputs.sentence_shares.data),
    };
  }

  /**
   * [N][C]: the network's share of a sentence divided by the attention of its words, and each n-gram's part divided
   * among its places, and there among its words.
   */
  sharesOfWords({ tokenIds, wordsPerSentence }, { shares, attention, width }, lane) {
    const classes = this.settings.class_names.length;
    const found = [];
    wordsPerSentence.forEach((length, sentence) => {
      const ofSentence = shares ? shares.slice(sentence * classes, (sentence + 1) * classes) : Array(classes).fill(0);
      for (let word = 0; word < length; word += 1) {
        found.push(times(attention ? attention[sentence * width + word] : 0, ofSentence));
      }
    });
    for (const { ids, places, added } of lane) {
      const each = times(1 / (places.length * ids.length), added);
      for (const place of places) {
        for (let offset = 0; offset < ids.length; offset += 1) found[place + offset] = plus(found[place + offset], each);
      }
    }
    return found.slice(0, tokenIds.length);
  }

  /** The n-grams that speak most for or against a class, strongest first. */
  strongest(lane, label) {
    const strength = ({ added }) => Math.abs(this.margin(added, label));
    return lane
      .map(({ ids, added, row }) => ({ ngram: ids.map((id) => this.reader.vocabulary[id]).join(" "), added, row }))
      .sort((one, other) => strength(other) - strength(one) || one.row - other.row)
      .slice(0, STRONGEST_NGRAMS);
  }
}

function sentencesOf({ spans }, { attention, weights, width }, shares) {
  let first = 0;
  return spans.map((words, sentence) => {
    const found = words.map(([start, end], place) => ({
      start,
      end,
      attention: attention ? attention[sentence * width + place] : null,
      share: shares[first + place],
    }));
    first += words.length;
    const share = found.map((word) => word.share).reduce(plus);
    return { start: words[0][0], end: words.at(-1)[1], weight: weights ? weights[sentence] : null, share, words: found };
  });
}

/** What a reader of the verdict should know. */
function remarks({ words, unknownWords, cutWords }, shortText) {
  const found = [];
  const shown = (number) => number.toLocaleString("en");
  if (!words) found.push("no word in the text: no prediction");
  else if (words === unknownWords) found.push("no word that the vocabulary knows: the prediction means nothing");
  else if (unknownWords > words / 2) {
    found.push(`${shown(unknownWords)} of the ${shown(words)} words are not in the vocabulary: the others decide`);
  }
  if (words && words < shortText) {
    const limit = `fewer than ${shown(shortText)} words`;
    found.push(`much shorter than the training texts (${limit}): right less often than its probabilities say`);
  }
  if (cutWords) {
    found.push(`the last ${shown(cutWords)} words were not read: the text has too many sentences`);
  }
  return found;
}
