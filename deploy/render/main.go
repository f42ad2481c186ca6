// Renders the chart as `helm template` does, with Go's text/template and sprig, which are what Helm renders with. It is for where no helm
// can be had: Debian has the compiler and sprig (golang-go, golang-github-masterminds-sprig-dev, golang-gopkg-yaml.v3-dev) and no Helm.
//
//	main CHART OUTPUT [PATH=VALUE]...
//
// writes one file for each template into the folder OUTPUT; PATH=VALUE is `--set`, for text, numbers and truths. The release is `voxify`
// in the namespace `voxify`. Stricter than Helm: a value that is not in values.yaml is an error.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

const release = "voxify"

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: main CHART OUTPUT [PATH=VALUE]...")
		os.Exit(2)
	}
	if err := render(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(chart, output string, settings []string) error {
	var about struct {
		Name       string `yaml:"name"`
		Version    string `yaml:"version"`
		AppVersion string `yaml:"appVersion"`
	}
	if err := read(filepath.Join(chart, "Chart.yaml"), &about); err != nil {
		return err
	}
	values := map[string]interface{}{}
	if err := read(filepath.Join(chart, "values.yaml"), &values); err != nil {
		return err
	}
	for _, setting := range settings {
		if err := set(values, setting); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	all := template.New(about.Name).Option("missingkey=error")
	all.Funcs(functions(all))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := all.New(filepath.Base(file)).Parse(string(text)); err != nil {
			return err
		}
	}
	top := map[string]interface{}{
		"Values":  values,
		"Chart":   about,
		"Release": map[string]interface{}{"Name": release, "Namespace": release, "Service": "Helm", "IsInstall": true, "IsUpgrade": false},
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var made bytes.Buffer
		if err := all.ExecuteTemplate(&made, name, top); err != nil {
			return err
		}
		text := strings.TrimSpace(made.String())
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(output, name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// functions are sprig's without those that read the environment, and those that Helm adds.
func functions(all *template.Template) template.FuncMap {
	made := sprig.TxtFuncMap()
	delete(made, "env")
	delete(made, "expandenv")
	made["include"] = func(name string, data interface{}) (string, error) {
		var text bytes.Buffer
		err := all.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	made["toYaml"] = func(value interface{}) (string, error) {
		var text bytes.Buffer
		encoder := yaml.NewEncoder(&text)
		encoder.SetIndent(2)
		err := encoder.Encode(value)
		return strings.TrimSuffix(text.String(), "\n"), err
	}
	made["toJson"] = func(value interface{}) (string, error) {
		text, err := json.Marshal(value)
		return string(text), err
	}
	made["required"] = func(why string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(why)
		}
		return value, nil
	}
	return made
}

// set changes the value at a path of names with dots between.
func set(values map[string]interface{}, setting string) error {
	path, text, found := strings.Cut(setting, "=")
	if !found {
		return fmt.Errorf("%s: PATH=VALUE is wanted", setting)
	}
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := values[name].(map[string]interface{})
		if !ok {
			return fmt.Errorf("%s is not in values.yaml", path)
		}
		values = inner
	}
	last := names[len(names)-1]
	if _, known := values[last]; !known {
		return fmt.Errorf("%s is not in values.yaml", path)
	}
	var value interface{}
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	values[last] = value
	return nil
}

func read(path string, into interface{}) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
