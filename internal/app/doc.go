// Package app wires the parts into running programs: configuration in, engine in the middle, front doors and admin around
// it. It holds the life cycles (start, reload, graceful stop) and decides nothing about requests.
package app
