// The page answers forms without this; with it only the answer is exchanged, and words can be edited in place.
"use strict";

const form = document.getElementById("ask");
if (form) begin();

function begin() {
  const text = document.getElementById("text");
  const answer = document.getElementById("answer");
  const detail = document.getElementById("detail");
  const stale = document.getElementById("stale");
  const working = document.getElementById("working");
  const ABOUT = ["id", "data", "without", "original", "mark"];
  let analysed = text.value; // what the places of words in the answer refer to
  let about = {}; // the fields that belong to this text
  let running = null;
  let timer = 0;
  document.documentElement.classList.add("script");

  form.addEventListener("submit", (event) => {
    if (event.submitter && (event.submitter.form !== form || "save" in event.submitter.dataset)) return;
    event.preventDefault();
    if (event.submitter && ["toggle", "undo"].includes(event.submitter.name) && text.value !== analysed) return;
    ask(event.submitter);
  });
  form.addEventListener("change", (event) => {
    if (!["method", "target"].includes(event.target.name)) return;
    keepForDrawing(event.target.name, event.target.value);
    if (text.value.trim()) ask(null);
  });
  document.addEventListener("submit", remember, true);
  document.addEventListener("click", (event) => { if (event.target.closest("a")) remember(); }, true);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  text.addEventListener("input", () => {
    compare();
    clearTimeout(timer);
    timer = setTimeout(remember, 500);
  });
  answer.addEventListener("click", (event) => {
    const word = event.target.closest(".word");
    if (word) edit(word);
  });
  answer.addEventListener("click", (event) => {
    if ("picture" in event.target.dataset) savePicture(event.target.closest(".run"));
  });
  answer.addEventListener("keydown", move);
  for (const kind of ["mouseover", "focusin"]) answer.addEventListener(kind, showDetail);
  for (const kind of ["mouseout", "focusout"]) answer.addEventListener(kind, () => { detail.hidden = true; });
  window.addEventListener("popstate", () => location.reload());
  prepare();
  if (history.state && typeof history.state.unsent === "string") {
    text.value = history.state.unsent;
    compare();
  }

  // What was typed and not sent stays with this entry of the history: whoever leaves the page finds it on the way back.
  function remember() {
    clearTimeout(timer);
    history.replaceState(text.value === analysed ? null : { unsent: text.value }, "");
  }

  function keepForDrawing(name, value) {
    document.querySelector(`#draw input[name=${name}]`).value = value;
  }

  // Another text than the one that was answered: nothing of it is left out, it has no label, and the answer is stale.
  function compare() {
    const same = text.value === analysed;
    for (const name of ABOUT) set(name, same ? about[name] : "");
    stale.hidden = same || !answer.querySelector(".run");
    answer.classList.toggle("stale", !stale.hidden);
    answer.inert = !stale.hidden;
  }

  // The method that was shown, where the one asked for was not possible.
  function showMethod(method) {
    const choice = form.querySelector(`input[name=method][value="${method}"]`);
    if (!choice || choice.checked) return;
    choice.checked = true;
    keepForDrawing("method", method);
  }

  function set(name, value) {
    const field = form.elements.namedItem(name);
    if (field) field.value = value;
  }

  function get(name) {
    const field = form.elements.namedItem(name);
    return field ? field.value : "";
  }

  async function ask(submitter, focus) {
    if (running) running.abort();
    const request = running = new AbortController();
    const values = new URLSearchParams(new FormData(form, submitter && submitter.form === form ? submitter : null));
    if (!values.get("mark")) values.delete("mark");
    const chosen = submitter && submitter.name === "toggle" ? submitter.value : null;
    const ticket = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
    values.set("ticket", ticket);
    answer.classList.add("busy");
    follow(request, ticket);
    try {
      const response = await fetch("answer", { method: "POST", body: values, signal: request.signal });
      answer.innerHTML = await response.text();
      if (response.ok) {
        if (values.has("undo") && text.value === values.get("text")) text.value = values.get("original");
        analysed = values.has("undo") ? values.get("original") : values.get("text");
        prepare();
        showMethod(answer.querySelector(".about").dataset.method);
        const link = document.getElementById("permalink");
        if (link) {
          history.replaceState(null, "");
          history.pushState(null, "", link.getAttribute("href"));
        }
        remember();
        if (focus !== undefined) focusWord(focus);
        if (chosen) focusOn([...answer.querySelectorAll("button.weight")].find((each) => each.value === chosen));
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      answer.replaceChildren(Object.assign(document.createElement("p"), {
        className: "error", role: "alert", textContent: "The server does not answer. Is attention_viewer.py still running?",
      }));
    } finally {
      if (running === request) {
        working.hidden = true;
        answer.classList.remove("busy");
        running = null;
        compare();
      }
    }
  }

  // What takes longer than a second shows how far it is, and can be cancelled: the server stops when the client goes.
  async function follow(request, ticket) {
    const bar = working.querySelector("progress");
    const words = working.querySelector("span");
    working.hidden = true;
    working.querySelector("button").onclick = () => {
      request.abort();
      answer.querySelector("button.weight, .word")?.focus();
    };
    const pause = () => new Promise((resolve) => { setTimeout(resolve, 1000); });
    for (await pause(); running === request; await pause()) {
      if (working.hidden) words.textContent = "Explaining.";
      working.hidden = false;
      try {
        const { share } = await (await fetch(`working?ticket=${ticket}`)).json();
        if (share === null) bar.removeAttribute("value");
        else bar.value = share;
      } catch {
        return;
      }
    }
  }

  // Words can be reached with one press of Tab and the arrow keys.
  function prepare() {
    about = Object.fromEntries(ABOUT.map((name) => [name, get(name)]));
    compare();
    for (const button of answer.querySelectorAll("[data-picture]")) button.hidden = false;
    for (const list of answer.querySelectorAll(".shaded")) {
      const first = list.querySelector(".word");
      if (first) first.tabIndex = 0;
    }
  }

  function focusOn(element) {
    if (!element) return;
    if (element.classList.contains("word")) {
      const before = element.closest(".shaded").querySelector(".word[tabindex='0']");
      if (before) before.tabIndex = -1;
      element.tabIndex = 0;
    }
    element.focus();
  }

  function focusWord(start) {
    const words = [...answer.querySelectorAll(".word")];
    focusOn(words.find((word) => Number(word.dataset.start) >= start) || words[words.length - 1]);
  }

  function move(event) {
    const word = event.target.closest(".word");
    if (!word || event.target !== word || event.altKey || event.ctrlKey || event.metaKey) return;
    const words = [...word.closest(".shaded").querySelectorAll(".word")];
    const place = words.indexOf(word);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: words.length - 1 }[event.key];
    if (next !== undefined) focusOn(words[Math.min(Math.max(next, 0), words.length - 1)]);
    else if (event.key === "Enter" || event.key === "F2") edit(word);
    else if (event.key === "Delete" || event.key === "Backspace") replace(word, "");
    else return;
    event.preventDefault();
  }

  function showDetail(event) {
    const element = event.target.closest(".word, button.weight");
    detail.hidden = !element;
    if (!element) return;
    const word = element.classList.contains("word");
    detail.textContent = word ? `${element.textContent}: ${element.title}` : element.title;
  }

  function edit(word) {
    if (text.value !== analysed) return;
    const field = document.createElement("input");
    field.className = "edit";
    field.value = word.textContent;
    field.size = Math.max(word.textContent.length, 4);
    field.setAttribute("aria-label", "New word; Enter accepts, Escape cancels");
    field.spellcheck = false;
    let done = false;
    const end = (value) => {
      if (done) return;
      done = true;
      field.replaceWith(word);
      if (value !== null && value !== word.textContent) replace(word, value);
      else focusOn(word);
    };
    field.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") end(field.value);
      else if (event.key === "Escape") end(null);
      else return;
      event.preventDefault();
    });
    field.addEventListener("blur", () => {
      if (done) return;
      done = true;
      field.replaceWith(word);
    });
    word.replaceWith(field);
    field.select();
  }

  // Places count code points, as Python does.
  function replace(word, value) {
    if (text.value !== analysed) return;
    const start = Number(word.dataset.start);
    const end = Number(word.dataset.end);
    const characters = Array.from(analysed);
    const longer = Array.from(value).length - (end - start);
    const shifted = get("without").split(",").filter(Boolean).map((range) => {
      const [from, to] = range.split("-").map(Number);
      return `${from >= end ? from + longer : from}-${to >= end ? to + longer : to}`;
    });
    const original = get("original") || analysed;
    text.value = characters.slice(0, start).join("") + value + characters.slice(end).join("");
    set("without", shifted.join(","));
    set("original", original);
    set("mark", "");
    ask(null, start);
  }
}

// What one sees of a run, drawn anew on a canvas: no library, and nothing that the page's policy forbids.
function savePicture(run) {
  run.classList.add("picture"); // nothing floats while it is drawn
  const frame = run.getBoundingClientRect();
  const margin = 16;
  const scale = Math.min(2, 16000 / (frame.height + 2 * margin));
  const canvas = document.createElement("canvas");
  canvas.width = Math.ceil((frame.width + 2 * margin) * scale);
  canvas.height = Math.ceil((frame.height + 2 * margin) * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.translate(margin - frame.left, margin - frame.top);
  draw(run, context);
  run.classList.remove("picture");
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "explanation.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function draw(element, context, struckAbove = false) {
  const style = getComputedStyle(element);
  const struck = struckAbove || style.textDecorationLine.includes("line-through");
  if (element.matches(".save, title") || style.visibility === "hidden" || style.display === "none") return;
  const svg = element instanceof SVGElement;
  for (const part of svg ? [] : element.getClientRects()) {
    if (style.backgroundColor !== "rgba(0, 0, 0, 0)") {
      context.fillStyle = style.backgroundColor;
      context.fillRect(part.x, part.y, part.width, part.height);
    }
    if (style.boxShadow !== "none") {
      context.strokeStyle = style.color;
      context.strokeRect(part.x, part.y, part.width, part.height);
    }
    if (style.borderBottomStyle === "dotted" || style.textDecorationStyle === "dashed" && style.textDecorationLine === "underline") {
      context.strokeStyle = style.color;
      context.setLineDash(style.borderBottomStyle === "dotted" ? [1, 2] : [4, 2]);
      context.beginPath();
      context.moveTo(part.left, part.bottom - 1);
      context.lineTo(part.right, part.bottom - 1);
      context.stroke();
      context.setLineDash([]);
    }
  }
  if (svg && ["rect", "circle"].includes(element.localName) && style.fill !== "none") {
    const part = element.getBoundingClientRect();
    context.fillStyle = style.fill;
    context.globalAlpha = Number(style.fillOpacity);
    context.beginPath();
    if (element.localName === "rect") context.rect(part.x, part.y, part.width, part.height);
    else context.ellipse(part.x + part.width / 2, part.y + part.height / 2, part.width / 2, part.height / 2, 0, 0, 7);
    context.fill();
    context.globalAlpha = 1;
  }
  if (element.localName === "line") {
    const places = [[element.x1, element.y1], [element.x2, element.y2]].map((place) =>
      new DOMPoint(...place.map((value) => value.baseVal.value)).matrixTransform(element.getScreenCTM()));
    context.strokeStyle = style.stroke;
    context.setLineDash([4, 3]);
    context.beginPath();
    context.moveTo(places[0].x, places[0].y);
    context.lineTo(places[1].x, places[1].y);
    context.stroke();
    context.setLineDash([]);
  }
  const folded = element.localName === "details" && !element.open; // what is folded has a place, but is not seen
  for (const child of folded ? element.querySelectorAll(":scope > summary") : element.childNodes) {
    if (child.nodeType === Node.ELEMENT_NODE) draw(child, context, struck);
    else if (child.nodeType === Node.TEXT_NODE) write(child, style, context, struck);
  }
}

// Word by word, where the browser has put each; it breaks lines behind hyphens, too.
function write(node, style, context, struck) {
  context.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textBaseline = "alphabetic";
  const range = document.createRange();
  for (const word of node.data.matchAll(/[^\s-]+-*|-+/gu)) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const [part] = range.getClientRects();
    if (!part) continue;
    const metrics = context.measureText(word[0]);
    const above = (part.height - metrics.fontBoundingBoxAscent - metrics.fontBoundingBoxDescent) / 2;
    context.fillText(word[0], part.x, part.y + above + metrics.fontBoundingBoxAscent);
    if (struck) context.fillRect(part.x, part.y + part.height / 2, part.width, 1);
  }
}
