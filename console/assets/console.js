// What a page can do beyond forms and links. Without this file everything still works.
(() => {
	"use strict";
	const one = (selector, root = document) => root.querySelector(selector);
	const all = (selector, root = document) => [...root.querySelectorAll(selector)];
	// A browser may be told to keep nothing.
	const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
	const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* then not */ } };

	// Addresses say only what was chosen.
	for (const form of all("form:not([method=post])")) {
		form.addEventListener("submit", () => {
			for (const input of all("input, select", form)) if (input.value === "") input.disabled = true;
		});
	}
	addEventListener("pageshow", () => all("form :disabled:not(button)").forEach((input) => { input.disabled = false; }));

	// Copying.
	const prepareCopies = () => all("[data-copy]").forEach((button) => { button.hidden = !navigator.clipboard; });
	prepareCopies();
	document.addEventListener("click", async (event) => {
		const button = event.target.closest("[data-copy]");
		if (!button) return;
		const text = button.dataset.text ??= button.textContent;
		try {
			await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
			button.textContent = "Copied";
		} catch {
			button.textContent = "Not allowed to copy";
		}
		setTimeout(() => { button.textContent = text; }, 1500);
	});

	// Selecting rows.
	const boxes = () => all("[data-rows] tbody input[type=checkbox]");
	const showSelection = () => {
		const list = boxes(), chosen = list.filter((box) => box.checked).length;
		const every = one("[data-select-all]");
		if (every) {
			every.hidden = false;
			every.checked = chosen > 0 && chosen === list.length;
			every.indeterminate = chosen > 0 && chosen < list.length;
		}
		const count = one("[data-selected-count]"), button = one("[data-selected]");
		if (count) count.textContent = chosen ? ` (${chosen})` : "";
		if (button) button.disabled = chosen === 0;
	};
	let lastBox = null;
	document.addEventListener("click", (event) => {
		const box = event.target;
		if (box.matches?.("[data-select-all]")) {
			boxes().forEach((b) => { b.checked = box.checked; });
		} else if (box.matches?.("[data-rows] tbody input[type=checkbox]")) {
			const list = boxes(), from = list.indexOf(lastBox), to = list.indexOf(box);
			if (event.shiftKey && from >= 0) {
				list.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((b) => { b.checked = box.checked; });
			}
			lastBox = box;
		} else {
			return;
		}
		showSelection();
	});
	showSelection();
	addEventListener("pageshow", showSelection);

	// Live update: the page is asked for again, and its parts are replaced where they differ.
	const bar = one("[data-live-bar]");
	const live = bar && bar.hasAttribute("data-live-on");
	const pausedKey = "outhook-paused";
	let paused = remembered(pausedKey) === "yes";
	const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
	const showLive = () => {
		one("[data-live-toggle]").textContent = paused ? "Resume updates" : "Pause updates";
	};
	const toggleLive = () => {
		paused = !paused;
		remember(pausedKey, paused ? "yes" : "no");
		one("[data-live-say]").textContent = paused ? "Updates are paused." : "Updates are on.";
		showLive();
		if (!paused) renew();
	};
	// Nobody likes what moves under the hand.
	const busy = () => {
		const active = document.activeElement;
		return document.hidden || boxes().some((box) => box.checked) || !getSelection().isCollapsed ||
			(active && active.matches("main input, main select, main textarea")) || one("dialog[open]");
	};
	const ask = () => new Promise((resolve) => {
		const request = new XMLHttpRequest(); // it parses without running anything
		request.open("GET", location.href);
		request.responseType = "document";
		request.timeout = 10000;
		request.onload = () => resolve(request.status === 200 ? request.response : null);
		request.onerror = request.ontimeout = () => resolve(null);
		request.send();
	});
	const states = (root) => all(".badge", root).map((badge) => badge.textContent).join();
	const replace = (old, fresh) => {
		if (old.innerHTML === fresh.innerHTML) return;
		const open = new Map(all("details[id]", old).map((d) => [d.id, d.open]));
		const focus = old.contains(document.activeElement) ? document.activeElement : null;
		const place = focus && (focus.id ? `#${CSS.escape(focus.id)}` : focus.getAttribute("href") ? `a[href="${CSS.escape(focus.getAttribute("href"))}"]` : null);
		const told = old.dataset.live === "head" && states(old) !== states(fresh) ? states(fresh) : "";
		old.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
		for (const d of all("details[id]", old)) if (open.has(d.id)) d.open = open.get(d.id);
		if (place) one(place, old)?.focus();
		if (told) one("[data-live-say]").textContent = `Now ${told}.`;
	};
	let asking = false;
	const renew = async () => {
		if (paused || asking || busy()) return;
		asking = true;
		const fresh = await ask();
		asking = false;
		if (!fresh || paused || busy()) return;
		for (const part of all("[data-live]")) {
			const other = one(`[data-live="${part.dataset.live}"]`, fresh);
			if (other) replace(part, other);
		}
		one("[data-live-time]").textContent = clock(new Date());
		prepareCopies();
		showSelection();
	};
	if (live) {
		bar.hidden = false;
		one("[data-live-toggle]").addEventListener("click", toggleLive);
		one("[data-live-time]").textContent = clock(new Date());
		showLive();
		setInterval(renew, 3000);
		document.addEventListener("visibilitychange", renew);
	}

	// Single keys, for those who want them.
	const keysKey = "outhook-keys";
	const keysOn = one("[data-keys-on]"), help = one("#keys"), opener = one("[data-keys-open]");
	if (!help) return;
	keysOn.checked = remembered(keysKey) !== "no";
	keysOn.addEventListener("change", () => remember(keysKey, keysOn.checked ? "yes" : "no"));
	opener.hidden = false;
	opener.addEventListener("click", () => help.showModal());
	const rows = () => all("[data-rows] .row");
	const move = (step) => {
		const list = rows();
		if (!list.length) return;
		const row = document.activeElement.closest("tr");
		const at = row ? list.indexOf(one(".row", row)) : -1;
		list[Math.min(Math.max(at + step, 0), list.length - 1)].focus();
	};
	const keys = {
		"/": () => one("#find").focus(),
		"j": () => move(1),
		"k": () => move(-1),
		"x": () => document.activeElement.closest("[data-rows] tr")?.querySelector("tbody input[type=checkbox]")?.click(),
		"p": () => { if (live) toggleLive(); },
		"?": () => help.showModal(),
	};
	addEventListener("keydown", (event) => {
		if (!keysOn.checked || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
		if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
		const act = keys[event.key];
		if (act) {
			event.preventDefault();
			act();
		}
	});
})();
