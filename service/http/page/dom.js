// Makes elements. Whatever the service or a file name says becomes text here, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element of the document with this id. */
export const byId = (id) => document.getElementById(id);

/** Make an HTML element; functions among the attributes listen to the event that they are named after. */
export function el(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** Make an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

/** Set a custom property that the style sheet reads: the policy of the page forbids style attributes. */
export function styled(element, name, value) {
  element.style.setProperty(name, value);
  return element;
}
