// Elements are made new at every refresh, and what the document shows is changed only where it differs. So focus,
// selection, scroll positions and open details stay. Texts become text nodes: nothing that a run says can be markup.

const SVG = new Set(["svg", "polyline", "line", "circle"]);
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** Make an element. Attributes that are null, undefined or false are left out; children may be nested lists. */
export function el(tag, attributes = {}, ...children) {
  const made = SVG.has(tag) ? document.createElementNS(SVG_NAMESPACE, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const keyOf = (node) => node.dataset?.key;
const fits = (node, made) => node.nodeName === made.nodeName && keyOf(node) === keyOf(made);

/** Change the children of `node` into those of `made`. */
export function morph(node, made) {
  const keyed = new Map([...node.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
  const wanted = new Set([...made.childNodes].map(keyOf));
  let next = node.firstChild;
  const skip = () => { while (next && keyOf(next) && !wanted.has(keyOf(next))) { const gone = next; next = next.nextSibling; gone.remove(); } };
  for (const child of [...made.childNodes]) {
    skip();
    const known = keyOf(child) ? keyed.get(keyOf(child)) : next;
    if (!known || !fits(known, child)) node.insertBefore(child, next);
    else {
      if (known === next) next = next.nextSibling;
      else node.insertBefore(known, next);
      change(known, child);
    }
  }
  while (next) { const gone = next; next = next.nextSibling; gone.remove(); }
}

function change(node, made) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== made.data) node.data = made.data;
    return;
  }
  for (const { name } of [...node.attributes]) if (!made.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  for (const { name, value } of [...made.attributes]) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  morph(node, made);
}
