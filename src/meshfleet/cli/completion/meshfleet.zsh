#compdef meshfleet
# Completion of meshfleet in zsh; in ~/.zshrc: source <(meshfleet completion zsh)
_meshfleet() {
    local program=${(Q)words[1]} answer code line
    local -a offers
    program=${program/#\~\//$HOME/}
    answer=$("$program" __complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)
    code=$?
    for line in ${(f)answer}; do
        offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    (( $#offers )) && _describe -V meshfleet offers
    (( code == 3 )) && _files
    return 0
}
if [[ $funcstack[1] == _meshfleet ]]; then
    _meshfleet "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _meshfleet meshfleet
fi
