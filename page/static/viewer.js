// The page answers forms without this; with it only the answer is exchanged, and words can be edited in place.
"use strict";

const form = document.getElementById("ask");
if (form) begin();

function begin() {
  const text = document.getElementById("text");
  const answer = document.getElementById("answer");
  const detail = document.getElementById("detail");
  const stale = document.getElementById("stale");
  const ABOUT = ["id", "data", "without", "original", "mark"];
  let analysed = text.value; // what the places of words in the answer refer to
  let about = {}; // the fields that belong to this text
  let running = null;
  let timer = 0;
  document.documentElement.classList.add("script");

  form.addEventListener("submit", (event) => {
    if (event.submitter && event.submitter.form !== form) return;
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
    answer.classList.add("busy");
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
        answer.classList.remove("busy");
        running = null;
        compare();
      }
    }
  }

  // Words can be reached with one press of Tab and the arrow keys.
  function prepare() {
    about = Object.fromEntries(ABOUT.map((name) => [name, get(name)]));
    compare();
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
