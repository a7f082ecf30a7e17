package generate

// Update is the flag -update, for the tests from outside.
var Update = update
