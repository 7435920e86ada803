// Package arch holds the house to its plan: the tables of ARCHITECTURE.md are
// read as law and the code is measured against them. It has tests only.
package arch
