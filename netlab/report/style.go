package report

// Style is the sheet of the lab's pages, for other pages of this project.
func Style() string { return drawingStyle + pageStyle }

// Policy is the content security policy of a page with this style sheet alone.
func Policy(style string) string {
	return "default-src 'none'; style-src '" + digest(style) + "'; base-uri 'none'; form-action 'none'"
}
