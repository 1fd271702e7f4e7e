// Prints the diagnostics of AsyncAPI's own parser about a document, as JSON, and each pattern that ECMA-262 does not read.
const { Parser } = require('@asyncapi/parser');
const text = require('fs').readFileSync(process.argv[2], 'utf8');

const found = [];
JSON.parse(text, (name, value) => {
  if (name === 'pattern' && typeof value === 'string') {
    try {
      new RegExp(value, 'u');
    } catch (error) {
      found.push(String(error));
    }
  }
  return value;
});
new Parser().parse(text).then(({ document, diagnostics }) => {
  found.push(...diagnostics.map((one) => `${one.path.join('.')}: ${one.message}`));
  console.log(JSON.stringify({ read: document !== undefined, found }));
});
