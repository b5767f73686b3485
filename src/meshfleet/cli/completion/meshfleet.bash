# Completion of meshfleet in bash; in ~/.bashrc: source <(meshfleet completion bash)
_meshfleet() {
    local program=$1 begun=$2 answer code line
    local -a words=()
    [[ $program == '~/'* ]] && program=$HOME/${program#'~/'}
    answer=$("$program" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$begun" 2>/dev/null </dev/null)
    code=$?
    while IFS= read -r line; do
        [[ $line ]] && words+=("$line")
    done <<<"$answer"
    # where several are listed, each with what it means; what is put into the line is the words alone
    if [[ ${#words[@]} -gt 1 && ( $COMP_TYPE -eq 63 || $COMP_TYPE -eq 33 || $COMP_TYPE -eq 64 ) ]]; then
        COMPREPLY=("${words[@]/$'\t'/  }")
    elif [[ ${#words[@]} -gt 0 ]]; then
        COMPREPLY=("${words[@]%%$'\t'*}")
    fi
    if [[ $code -eq 3 ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen -f -- "$begun")
    fi
}
# the order is that of meshfleet, the newest first, where bash can be told to keep it
complete -o nosort -F _meshfleet meshfleet 2>/dev/null || complete -F _meshfleet meshfleet
